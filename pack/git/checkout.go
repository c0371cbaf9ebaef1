package git

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// Packtype is that of wares named by a commit.
const Packtype = "git"

// Options says what of a commit becomes a ware.
type Options struct {
	pack.Options        // of Include and Exclude, paths below Subdir
	Name         string // of the repository, for errors
	URL          string // of the repository, for submodules with relative urls; "": of the remote "origin", or its path
	Subdir       string // a directory in the commit, also within a submodule; "": all of it
	NoSubmodules bool   // a submodule is an empty directory
	MaxBytes     int64  // content of all files; 0: pack.DefaultMaxBytes
	MaxEntries   int64  // 0: pack.DefaultMaxEntries
	// Submodule opens a repository that has the commit of a submodule, by the url
	// that .gitmodules has for it, resolved against parent, the url or path of the
	// repository that has it. Who calls Checkout closes what it opens, after Checkout
	// has returned. nil: only those that git keeps within the repository are found.
	Submodule func(ctx context.Context, parent, url string, commit ID) (*Repo, error)
}

// Checkout makes a ware of a commit: of its tree as it is, without the conversions
// that .gitattributes asks for. Files have mode 0644 or 0755, directories 0755; the
// mtime, where a filter keeps it, is the commit's time. A failure names the commit
// and the entry, and leaves nothing.
func (r *Repo) Checkout(ctx context.Context, l *warehouse.Local, commit ID, o Options) (warehouse.Record, error) {
	rec, err := r.checkout(ctx, l, commit, o)
	if err != nil {
		return rec, fmt.Errorf("git %s: commit %s: %w", o.Name, commit, err)
	}
	return rec, nil
}

func (r *Repo) checkout(ctx context.Context, l *warehouse.Local, commit ID, o Options) (rec warehouse.Record, err error) {
	if o.URL == "" {
		o.URL = r.origin()
	}
	if o.MaxEntries == 0 {
		o.MaxEntries = pack.DefaultMaxEntries
	}
	b, err := pack.NewBuilder(ctx, l, pack.BuildOptions{Options: o.Options, Name: o.Name, MaxBytes: o.MaxBytes, MaxEntries: o.MaxEntries})
	if err != nil {
		return rec, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	a := newAhead(ctx, o.Jobs)
	t := &treeWalk{ctx: ctx, o: &o, a: a, takes: b.Takes}
	defer t.close()
	defer a.wait()
	defer cancel()
	a.start(func() error { return t.commit(r, commit) })
	for it := range a.queue {
		if err := it.add(ctx, b); err != nil {
			return rec, err
		}
	}
	if err := a.wait(); err != nil {
		return rec, err
	}
	return b.Commit()
}

// Named reports whether what Checkout makes with o is what git:COMMIT names: all of a
// commit, with its submodules and the default filters.
func Named(o Options) bool {
	return o.Subdir == "" && !o.NoSubmodules && len(o.Include)+len(o.Exclude) == 0 && o.Filters == (pack.Filters{})
}

// Name makes git:COMMIT another name of what Checkout made of a commit.
func Name(l *warehouse.Local, rec warehouse.Record, commit ID) (warehouse.Record, error) {
	id := warehouse.WareID{Packtype: Packtype, Hash: commit.String()}
	if err := l.Alias(warehouse.Record{ID: id, Tree: rec.Tree}); err != nil {
		return rec, err
	}
	return l.Get(id)
}

// add gives the builder the item, once its content has been read.
func (it *item) add(ctx context.Context, b *pack.Builder) error {
	select {
	case <-it.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	err := it.err
	if err != nil {
		return &pack.EntryError{Path: it.entry.Path, Err: err}
	}
	if !it.large {
		return b.Add(&it.entry, &it.content)
	}
	o, err := it.repo.Objects.Open(it.id)
	if err != nil {
		return &pack.EntryError{Path: it.entry.Path, Err: err}
	}
	defer o.Close()
	it.entry.Size = o.Size
	if err := b.Add(&it.entry, o); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, o); err != nil {
		return &pack.EntryError{Path: it.entry.Path, Err: err}
	}
	return nil
}
