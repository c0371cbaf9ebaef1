package pack

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kilnbuild/kiln/warehouse"
	"golang.org/x/sys/unix"
)

// Check looks whether a ware's fileset still is what its id says. It compares the
// stat of every entry with the record's stamp; if they differ, it hashes the fileset
// again, and if that gives the ware's ids, it renews the stamp. Otherwise the error
// matches ErrCorrupt. It matches warehouse.ErrMissing if the ware is not there.
func Check(ctx context.Context, l *warehouse.Local, id warehouse.WareID) error {
	return Verify(ctx, l, id, VerifyOptions{})
}

// VerifyOptions says how a ware is verified.
type VerifyOptions struct {
	Deep     bool // hash all files, whatever the stamp says
	Progress func(entries, bytes int64)
}

// Verify is Check with options. Of a warehouse that is open for reading only, it renews
// no stamp.
func Verify(ctx context.Context, l *warehouse.Local, id warehouse.WareID, o VerifyOptions) error {
	for {
		rec, err := l.Get(id)
		if err != nil {
			return err
		}
		if err = verify(ctx, l, rec, o); !errors.Is(err, ErrCorrupt) {
			return err
		}
		now, gone := l.Get(id)
		if gone != nil {
			return gone
		}
		if now.Stamp == rec.Stamp && now.Created.Equal(rec.Created) {
			return err
		}
		// It was removed meanwhile, and made again.
	}
}

// verify compares what lies on disk with the record of a ware.
func verify(ctx context.Context, l *warehouse.Local, rec warehouse.Record, o VerifyOptions) error {
	id := rec.ID
	if !o.Deep {
		stamp, err := restat(ctx, l, rec)
		if err != nil {
			return corrupt(id, err)
		}
		if stamp == rec.Stamp {
			return nil
		}
	}
	w, r, root, err := rehash(ctx, l, rec, o.Progress)
	if err != nil {
		return corrupt(id, err)
	}
	if r.Tree != rec.Tree {
		if err := compare(l, rec, w.dirs); err != nil {
			return fmt.Errorf("ware %s: %w: %w", id, ErrCorrupt, err)
		}
	}
	stamp := rootStamp(root)
	if stamp == rec.Stamp {
		return nil
	}
	err = l.Restamp(id, stamp)
	if errors.Is(err, warehouse.ErrReadOnly) {
		return nil
	}
	return err
}

// commit makes staged the ware rec.ID. Of a ware that is there already, the fileset
// there stays, unless it was changed on disk: then staged takes its place. It must be
// the same fileset, as its tree id tells, also where rec.ID covers less of it.
func commit(ctx context.Context, l *warehouse.Local, staged string, rec warehouse.Record) error {
	if there, err := l.Get(rec.ID); err == nil {
		if err := rec.CheckTree(there.Tree, "the warehouse"); err != nil {
			return err
		}
	}
	err := Check(ctx, l, rec.ID)
	switch {
	case errors.Is(err, ErrCorrupt):
		if err := l.Remove(rec.ID); err != nil {
			return err
		}
	case err != nil && !errors.Is(err, warehouse.ErrMissing):
		return err
	}
	return l.Commit(staged, rec)
}

// compare compares the fileset described by dirs with what was recorded. Owners do
// not count: filesets at rest have none of their own.
func compare(l *warehouse.Local, rec warehouse.Record, dirs []byte) error {
	kept, err := l.Dirs(rec)
	if err != nil || len(kept) == 0 {
		return errors.New("its content has changed")
	}
	want, err := newListing(kept)
	if err != nil || !want.proves(rec.Tree) {
		return errors.New("its content has changed, and so has what was recorded of it")
	}
	got, err := newListing(dirs)
	if err != nil {
		return err
	}
	var first error
	c := comparison{old: want, new: got, last: true, found: func(d Difference) bool {
		if first = d.fault(); !rec.File {
			first = entryError(&dir{}, d.Path, first)
		}
		return false
	}}
	return errors.Join(c.roots(), first)
}

// fault says what is wrong with a fileset in which this is different.
func (d *Difference) fault() error {
	switch {
	case d.New == nil:
		return errors.New("it is missing")
	case d.Old == nil:
		return errors.New("it does not belong there")
	}
	switch d.What[0] {
	case "type":
		return fmt.Errorf("it is %s, not %s", kindName(d.New.Kind), kindName(d.Old.Kind))
	case "target":
		return fmt.Errorf("it leads to %q, not %q", d.New.Link, d.Old.Link)
	case "content":
		return errors.New("its content has changed")
	}
	return fmt.Errorf("its %s has changed", strings.Join(d.What, " and its "))
}

// corrupt tells an entry that cannot be read from a check that was given up.
func corrupt(id warehouse.WareID, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.EIO) || errors.Is(err, unix.ENOMEM) {
		return fmt.Errorf("check ware %s: %w", id, err)
	}
	return fmt.Errorf("ware %s: %w: %w", id, ErrCorrupt, err)
}

func restat(ctx context.Context, l *warehouse.Local, rec warehouse.Record) (string, error) {
	w := &walk{ctx: ctx, v: statter{}, o: Options{Packtype: Tree}}
	return w.stored(l, rec, func(_ Result, root *dir) string { return rootStamp(root) })
}

func (w *walk) stored(l *warehouse.Local, rec warehouse.Record, f func(Result, *dir) string) (string, error) {
	path := l.Fileset(rec)
	if !rec.File {
		r, root, err := w.directory(path, -1)
		if err != nil {
			return "", err
		}
		return f(r, root), nil
	}
	parent, name := path[:len(path)-len("/file")], "file"
	r, root, err := w.file(parent, name, -1)
	if err != nil {
		return "", err
	}
	return f(r, root), nil
}

func rehash(ctx context.Context, l *warehouse.Local, rec warehouse.Record, progress func(entries, bytes int64)) (w *walk, r Result, root *dir, err error) {
	w, err = newWalk(ctx, Options{Filters: storedFilters(), Progress: progress}, scanner{})
	if err != nil {
		return nil, r, nil, err
	}
	w.keepDirs = true
	_, err = w.stored(l, rec, func(got Result, at *dir) string {
		r, root = got, at
		return ""
	})
	return w, r, root, err
}

// storedFilters keep what counts of a fileset in the warehouse: everything but the
// owner, which there is whoever runs kiln.
func storedFilters() Filters {
	f := KeepFilters()
	f.uid, f.gid = idFilter{rule: set}, idFilter{rule: set}
	return f
}

// A statter only looks at each entry's stat.
type statter struct{}

func (statter) enter(*walk, *dir) error { return nil }

func (statter) visit(w *walk, d *dir, n *node, s *scratch) error {
	var st unix.Stat_t
	if err := lstatat(d.fd, n.name, &st); err != nil {
		return err
	}
	n.seen = seenOf(&st)
	return nil
}

func (statter) leave(w *walk, d *dir) error {
	return scanner{}.leave(w, d)
}
