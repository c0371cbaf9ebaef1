package plan

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/internal/lazyregexp"
	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/git"
	"github.com/kilnbuild/kiln/plan/gitremote"
	"github.com/kilnbuild/kiln/warehouse"
)

var wholeCommit = lazyregexp.New(`^([0-9a-fA-F]{40}|[0-9a-fA-F]{64})$`)

// pinnedGit reports whether a source names a commit that no update can move.
func pinnedGit(s formula.Source) bool {
	return s.Kind == formula.SourceGit && wholeCommit.MatchString(s.Ref)
}

// gitPath returns where a local repository is; ok is false for a url of another machine.
func gitPath(w *formula.Ware) (path string, ok bool) { return localGit(w.Source.Git, w.Dir) }

func localGit(text, dir string) (path string, ok bool) {
	if !formula.IsGitURL(text) {
		return hostPath(text, dir), true
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "file" {
		return "", false
	}
	return filepath.Clean(u.Path), true
}

func hostPath(path, dir string) string { return formula.HostPath(path, dir) }

// fetchGit brings a commit of w's repository into the warehouse: the one named by
// commit, or if that is "" the one that w's ref names now.
func (src *sources) fetchGit(ctx context.Context, w *formula.Ware, commit string) (LockEntry, error) {
	g := &gitFetch{src: src, w: w, name: redactURL(w.Source.Git)}
	defer g.close()
	if commit == "" {
		commit = w.Source.Ref
	}
	if wholeCommit.MatchString(commit) {
		commit = strings.ToLower(commit)
	}
	e := gitEntry(w.Source)
	repo, id, err := g.open(ctx, commit)
	src.end(w.Addr, PhaseFetch, err)
	if err != nil {
		return e, fmt.Errorf("git %s: %w", g.name, refHint(err))
	}
	e.Commit = id.String()
	if git.Named(g.options()) {
		known, err := src.o.Warehouse.Get(warehouse.WareID{Packtype: git.Packtype, Hash: e.Commit})
		if err == nil {
			e.ID = known.Tree
			return e, src.prove(w, e)
		}
	}
	rec, err := repo.Checkout(ctx, src.o.Warehouse, id, g.options())
	if g.damaged(ctx, err) {
		// What was fetched is no longer what it was. It can be had again.
		if repo, id, err = g.open(ctx, id.String()); err == nil {
			rec, err = repo.Checkout(ctx, src.o.Warehouse, id, g.options())
		}
	}
	src.end(w.Addr, PhaseUnpack, err)
	if err == nil && git.Named(g.options()) {
		_, err = git.Name(src.o.Warehouse, rec, id)
	}
	if e.ID = rec.Tree; err == nil {
		err = src.prove(w, e)
	}
	return e, err
}

// damaged removes cached repositories of which err says that an object in them is
// damaged or missing. It reports whether there were any.
func (g *gitFetch) damaged(ctx context.Context, err error) bool {
	var object *git.ObjectError
	if !errors.As(err, &object) || ctx.Err() != nil || g.src.o.Offline {
		return false
	}
	dropped := false
	for _, rawURL := range g.cached {
		dropped = gitremote.Drop(ctx, rawURL, g.remoteOptions()) == nil || dropped
	}
	g.cached, g.direct = nil, true
	return dropped
}

// GitWare brings a commit of a repository into the warehouse, at a url or a path: the
// one that ref names, HEAD if that is "". Its record is that of the ware git:COMMIT.
func GitWare(ctx context.Context, repository, ref string, o ResolveOptions) (warehouse.Record, error) {
	dir, err := os.Getwd()
	if err != nil {
		return warehouse.Record{}, err
	}
	src := &sources{o: o, packs: &packer{o}}
	w := &formula.Ware{Addr: redactURL(repository), Dir: dir}
	w.Source = formula.Source{Kind: formula.SourceGit, Git: repository, Ref: ref}
	e, err := src.fetchGit(ctx, w, "")
	if err != nil {
		return warehouse.Record{}, err
	}
	return o.Warehouse.Get(warehouse.WareID{Packtype: git.Packtype, Hash: e.Commit})
}

// GitTags returns the tags of the repository at a url, in the order it gives them, and
// fetches nothing.
func GitTags(ctx context.Context, rawURL string, o ResolveOptions) ([]gitremote.Tag, error) {
	g := &gitFetch{src: &sources{o: o}, w: &formula.Ware{Addr: redactURL(rawURL)}}
	tags, err := gitremote.Tags(ctx, rawURL, g.remoteOptions())
	if err != nil {
		return nil, unavailableError{fmt.Errorf("git %s: %w", redactURL(rawURL), err)}
	}
	return tags, nil
}

// A gitFetch is one fetch of a git source, with its submodules.
type gitFetch struct {
	src    *sources
	w      *formula.Ware
	name   string // for messages
	opened []*git.Repo
	cached []string // urls of those that are in the cache
	direct bool     // mirrors are left out: what one gave was not whole
}

func (g *gitFetch) close() {
	for _, r := range g.opened {
		r.Close()
	}
}

// open opens a repository that has the commit that name stands for.
func (g *gitFetch) open(ctx context.Context, name string) (repo *git.Repo, id git.ID, err error) {
	path, local := gitPath(g.w)
	if !local {
		repo, id, err = g.remote(ctx, g.w.Source.Git, name)
	} else if repo, err = git.Open(path); err == nil {
		if id, err = repo.Resolve(name); err != nil {
			repo.Close()
		}
	}
	if err != nil {
		return nil, "", unavailableError{err}
	}
	g.opened = append(g.opened, repo)
	return repo, id, nil
}

// remote opens the copy of another machine's repository, after fetching what name
// stands for if it is not in it. Mirrors are tried first for a commit.
func (g *gitFetch) remote(ctx context.Context, rawURL, name string) (*git.Repo, git.ID, error) {
	o := g.remoteOptions()
	mirrors := g.src.mirrorsOf(rawURL, wholeCommit.MatchString(name) && !g.direct)
	if mirrors == nil {
		return g.remoteAt(ctx, rawURL, name, o)
	}
	cached := o
	cached.Offline = true
	if repo, id, err := g.remoteAt(ctx, rawURL, name, cached); err == nil {
		return repo, id, nil
	}
	var repo *git.Repo
	var id git.ID
	own := len(mirrors)
	places := append(slices.Clip(mirrors), rawURL)
	failures, found, err := g.src.turns.take(ctx, places, func(ctx context.Context, i int) (_ bool, err error) {
		if i == own {
			repo, id, err = g.remoteAt(ctx, rawURL, name, o)
		} else if repo, id, err = g.mirror(ctx, places[i], name, o); err != nil {
			err = fmt.Errorf("git %s: %w", redactURL(places[i]), err)
		}
		return err == nil, err
	})
	if found || ctx.Err() != nil {
		return repo, id, err
	}
	return nil, "", withMirrors(failures[own], failures[:own])
}

// mirror opens a mirror of a repository, which may be on this machine.
func (g *gitFetch) mirror(ctx context.Context, rawURL, commit string, o gitremote.Options) (*git.Repo, git.ID, error) {
	path, local := localGit(rawURL, "/")
	if !local {
		return g.remoteAt(ctx, rawURL, commit, o)
	}
	repo, err := git.Open(path)
	if err != nil {
		return nil, "", err
	}
	id, err := repo.Resolve(commit)
	if err != nil {
		repo.Close()
		return nil, "", err
	}
	return repo, id, nil
}

// remoteAt is remote without mirrors. What may pass is tried again, with pauses.
func (g *gitFetch) remoteAt(ctx context.Context, rawURL, name string, o gitremote.Options) (*git.Repo, git.ID, error) {
	g.cached = append(g.cached, rawURL)
	if retry.IsHurried(ctx) {
		o.Stall = min(o.Stall, retry.HurriedStall)
	}
	var repo *git.Repo
	var id git.ID
	err := g.src.retry().Do(ctx, func() (err error) {
		repo, id, err = gitremote.Open(ctx, rawURL, name, o)
		if passing := (*gitremote.TemporaryError)(nil); errors.As(err, &passing) {
			return retry.After(err, passing.After)
		}
		return retry.Final(err)
	})
	if errors.Is(err, gitremote.ErrOffline) {
		err = fmt.Errorf("fetching %s needs the network, which --offline forbids", redactURL(rawURL))
	}
	return repo, id, err
}

// gitStall is how long a server of git may be silent: it may have a pack to make.
const gitStall = 60 * time.Second

func (g *gitFetch) remoteOptions() gitremote.Options {
	o := gitremote.Options{
		Dir: filepath.Join(g.src.o.CacheDir, "git"), Client: g.src.o.HTTPClient, Offline: g.src.o.Offline,
		MaxBytes: g.src.o.MaxDownload, Stall: gitStall, Progress: g.src.report(g.w.Addr, PhaseFetch),
	}
	if o.Client == nil {
		o.Client = &http.Client{Transport: newTransport()}
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxDownload
	}
	return o
}

// submodule opens a repository that a commit names. What comes from another machine
// cannot name a place on this one.
func (g *gitFetch) submodule(ctx context.Context, parent, rawURL string, commit git.ID) (*git.Repo, error) {
	repo, err := g.openModule(ctx, parent, rawURL, commit)
	if err != nil {
		return nil, unavailableError{err}
	}
	g.opened = append(g.opened, repo)
	return repo, nil
}

func (g *gitFetch) openModule(ctx context.Context, parent, rawURL string, commit git.ID) (*git.Repo, error) {
	path, local := localGit(rawURL, "/")
	if !local {
		repo, _, err := g.remote(ctx, rawURL, commit.String())
		return repo, err
	}
	if _, local := localGit(parent, "/"); !local {
		return nil, errors.New("it names a directory of this machine, which a repository of another one cannot")
	}
	repo, err := git.Open(path)
	if err == nil && !repo.Objects.Has(commit) {
		repo.Close()
		err = fmt.Errorf("it has no commit %s", commit)
	}
	return repo, err
}

func (g *gitFetch) options() git.Options {
	s := g.w.Source
	filters, _ := pack.ParseFilters(s.Filters) // a mistake in them was told when the formula was read
	o := git.Options{
		Options: pack.Options{
			Filters: filters, Include: s.Include, Exclude: s.Exclude,
			Progress: g.src.report(g.w.Addr, PhaseUnpack).entries(),
		},
		Name:         g.name,
		Subdir:       s.Subdir,
		NoSubmodules: s.NoSubmodules,
		MaxBytes:     g.src.o.MaxDownload,
		Submodule:    g.submodule,
	}
	if _, local := gitPath(g.w); !local {
		o.URL = s.Git
	}
	return o
}

// refHint adds to an error about an unknown ref which there are.
func refHint(err error) error {
	var ref *git.RefError
	if !errors.As(err, &ref) {
		return err
	}
	if near := nearest(ref.Name, ref.Known); near != "" {
		return fmt.Errorf("%w (did you mean %q?)", err, near)
	}
	if n := len(ref.Known); n > 0 && n <= 8 {
		slices.Sort(ref.Known)
		return fmt.Errorf("%w, there is: %s", err, strings.Join(slices.Compact(ref.Known), ", "))
	}
	return err
}

// gitEntry is the lock file's entry for a git source, without what it resolves to.
func gitEntry(s formula.Source) LockEntry {
	return LockEntry{
		Git: redactURL(s.Git), Ref: s.Ref, Subdir: s.Subdir, NoSubmodules: s.NoSubmodules,
		Include: joinPatterns(s.Include), Exclude: joinPatterns(s.Exclude), Filters: s.Filters,
	}
}

// joinPatterns makes one comparable text of patterns, none of which holds a NUL.
func joinPatterns(patterns []string) string { return strings.Join(patterns, "\x00") }

func splitPatterns(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, "\x00")
}

// Commit returns the commit that a git ware resolved to, or "" for any other ware.
func (p *Plan) Commit(addr string) string {
	if p.sources == nil || p.sources.byAddr[addr] == nil {
		return ""
	}
	return p.sources.byAddr[addr].entry.Commit
}
