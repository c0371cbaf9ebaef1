package git

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/agext/levenshtein"

	"github.com/kilnbuild/kiln/pack"
)

// maxDepth is how deep directories nest: twice as deep as a path of Linux's longest
// can name. Tests lower it.
var maxDepth = 4096

// maxModules is how deep submodules nest in submodules.
const maxModules = 32

// A treeWalk sends the entries of a commit, those of a directory behind it.
type treeWalk struct {
	ctx     context.Context
	o       *Options
	a       *ahead
	takes   func(path string, dir bool) bool
	entries int64
	opened  []*Repo // within a repository
}

func (t *treeWalk) close() {
	for _, r := range t.opened {
		r.Close()
	}
}

// A place is a directory in the commit.
type place struct {
	repo    *Repo
	url     string // of the repository
	time    int64  // of the commit it is from
	modules modules
	rel     string // its path in its own repository, "" or with a slash at its end
	path    string // its path in the fileset, "" or with a slash at its end
	shown   string // its path in the first repository, for errors, likewise
	depth   int    // of directories
	within  int    // of submodules
}

// commit sends the tree of a commit, or what Subdir names of it.
func (t *treeWalk) commit(r *Repo, id ID) error {
	at := place{repo: r, url: t.o.URL}
	entries, err := t.enter(&at, id)
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(t.o.Subdir, "/") {
		if name == "" || name == "." {
			continue
		}
		if entries, err = t.descend(&at, entries, name); err != nil {
			return err
		}
	}
	if err := t.a.send(&item{entry: pack.Entry{Path: ".", Kind: pack.KindDir, Mode: 0o755, Sec: at.time}}); err != nil {
		return err
	}
	return t.all(at, entries)
}

// enter makes at the root of a commit of at.repo, and returns its entries.
func (t *treeWalk) enter(at *place, id ID) ([]TreeEntry, error) {
	c, err := at.repo.Commit(id)
	if err != nil {
		return nil, err
	}
	entries, err := at.repo.tree(c.Tree)
	if err == nil {
		at.modules, err = at.repo.readModules(entries)
	}
	at.time, at.rel = c.Time, ""
	return entries, err
}

func (r *Repo) tree(id ID) ([]TreeEntry, error) {
	data, err := r.Objects.Read(id, Tree, maxSmall)
	if err != nil {
		return nil, err
	}
	entries, err := ParseTree(data, r.size)
	if err != nil {
		return nil, &ObjectError{Tree, id, err}
	}
	return entries, nil
}

// descend makes at the directory name in it, for Subdir.
func (t *treeWalk) descend(at *place, entries []TreeEntry, name string) ([]TreeEntry, error) {
	var names []string
	for _, e := range entries {
		if e.Name == name {
			if e.Mode != ModeDir && e.Mode != ModeSubmodule {
				return nil, fmt.Errorf("subdir %q: %q is no directory", t.o.Subdir, at.shown+name)
			}
			next, entries, err := t.open(*at, e)
			if err == nil && next == nil {
				err = fmt.Errorf("subdir %q: %q is a submodule, and submodules are left out", t.o.Subdir, at.shown+name)
			}
			if err != nil {
				return nil, err
			}
			*at, at.path = *next, ""
			return entries, nil
		}
		if e.Mode == ModeDir || e.Mode == ModeSubmodule {
			names = append(names, e.Name)
		}
	}
	err := fmt.Errorf("subdir %q: there is no directory %q", t.o.Subdir, at.shown+name)
	for _, near := range names {
		if levenshtein.Distance(near, name, nil) <= 2 {
			return nil, fmt.Errorf("%w (did you mean %q?)", err, at.shown+near)
		}
	}
	return nil, err
}

// open returns the directory or submodule e of at, and its entries; nil for a
// submodule that is left out.
func (t *treeWalk) open(at place, e TreeEntry) (*place, []TreeEntry, error) {
	at.path, at.shown, at.depth = at.path+e.Name+"/", at.shown+e.Name+"/", at.depth+1
	fail := func(err error) (*place, []TreeEntry, error) {
		var known *pack.EntryError
		if !errors.As(err, &known) {
			shown := strings.TrimSuffix(at.shown, "/")
			if len(shown) > 500 {
				shown = shown[:500] + "…"
			}
			err = &pack.EntryError{Path: shown, Err: err}
		}
		return nil, nil, err
	}
	if at.depth > maxDepth {
		return fail(fmt.Errorf("it is more than %d directories deep", maxDepth))
	}
	if e.Mode == ModeDir {
		at.rel += e.Name + "/"
		entries, err := at.repo.tree(e.ID)
		if err != nil {
			return fail(err)
		}
		return &at, entries, nil
	}
	if t.o.NoSubmodules {
		return nil, nil, nil
	}
	if err := t.module(&at, path.Join(at.rel, e.Name), e.ID); err != nil {
		return fail(fmt.Errorf("submodule: %w", err))
	}
	entries, err := t.enter(&at, e.ID)
	if err != nil {
		return fail(fmt.Errorf("submodule %s: commit %s: %w", shown(at.url), e.ID, err))
	}
	return &at, entries, nil
}

// module makes at.repo the repository of the submodule at a path of it.
func (t *treeWalk) module(at *place, path string, commit ID) error {
	m, ok := at.modules[path]
	if !ok || m.url == "" {
		return errors.New("it is not in .gitmodules; without submodules the commit can be used")
	}
	if at.within++; at.within > maxModules {
		return fmt.Errorf("submodules nest more than %d deep", maxModules)
	}
	parent := at.url
	var err error
	if at.url, err = RelativeURL(parent, m.url); err != nil {
		return err
	}
	if sub := at.repo.local(m, commit); sub != nil {
		t.opened = append(t.opened, sub)
		at.repo = sub
		return nil
	}
	if t.o.Submodule == nil {
		return fmt.Errorf("%s is not within the repository; git submodule update fetches it", shown(at.url))
	}
	sub, err := t.o.Submodule(t.ctx, parent, at.url, commit)
	if err != nil {
		return fmt.Errorf("%s: %w", shown(at.url), err)
	}
	at.repo = sub
	return nil
}

// all sends the entries of a directory.
func (t *treeWalk) all(at place, entries []TreeEntry) error {
	for _, e := range entries {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		isDir := e.Mode == ModeDir || e.Mode == ModeSubmodule
		if t.entries++; t.entries > t.o.MaxEntries {
			return &pack.EntryError{Path: at.shown + e.Name, Err: fmt.Errorf("it is one entry more than the %d allowed", t.o.MaxEntries)}
		}
		if !t.takes(at.path+e.Name, isDir) {
			continue
		}
		it := &item{entry: pack.Entry{Path: at.path + e.Name, Kind: pack.KindDir, Mode: 0o755, Sec: at.time}}
		switch e.Mode {
		case ModeFile, ModeExecutable:
			it.entry.Kind, it.entry.Mode = pack.KindFile, uint32(e.Mode&0o777)
			it.repo, it.id = at.repo, e.ID
		case ModeSymlink:
			it.entry.Kind = pack.KindSymlink
			it.repo, it.id = at.repo, e.ID
		}
		if err := t.a.send(it); err != nil {
			return err
		}
		if !isDir {
			continue
		}
		next, below, err := t.open(at, e)
		if err == nil && next != nil {
			err = t.all(*next, below)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
