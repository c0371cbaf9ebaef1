package pack

import (
	"context"
	"fmt"

	"github.com/kilnbuild/kiln/warehouse"
)

// A Change is one entry in which a fileset differs from another.
type Change struct {
	Path string `json:"path"` // relative to the root; "dir/." is the mode or mtime of dir itself
	What string `json:"what"` // "added", "removed", "changed"
}

// Changes says in what the fileset at path, packed by o, differs from the ware old,
// in the order of paths, at most limit entries; more is true if there are others.
// What an added or removed directory holds is not listed. The warehouse must have
// kept old's Directory messages: if not, or if old is a single file, there are no
// changes to tell. Owners are not compared.
func Changes(ctx context.Context, l *warehouse.Local, old warehouse.WareID, path string, o Options, limit int) (changes []Change, more bool, err error) {
	rec, err := l.Get(old)
	if err != nil {
		return nil, false, err
	}
	kept, err := l.Dirs(rec)
	if err != nil || len(kept) == 0 || rec.File {
		return nil, false, err
	}
	w, err := newWalk(ctx, o, scanner{})
	if err != nil {
		return nil, false, fmt.Errorf("compare %s: %w", path, err)
	}
	w.keepDirs = true
	if _, _, err := w.host(path, -1); err != nil {
		return nil, false, fmt.Errorf("compare %s: %w", path, err)
	}
	want, err := newListing(kept)
	if err != nil {
		return nil, false, fmt.Errorf("compare %s with ware %s: %w", path, old, err)
	}
	got, err := newListing(w.dirs)
	if err != nil {
		return nil, false, fmt.Errorf("compare %s with ware %s: %w", path, old, err)
	}
	c := comparison{old: want, new: got, last: true, found: func(d Difference) bool {
		if more = len(changes) == limit; !more {
			changes = append(changes, d.change())
		}
		return !more
	}}
	if err := c.roots(); err != nil {
		return nil, false, fmt.Errorf("compare %s with ware %s: %w", path, old, err)
	}
	return changes, more, nil
}

func (d *Difference) change() Change {
	switch {
	case d.Old == nil:
		return Change{d.Path, "added"}
	case d.New == nil:
		return Change{d.Path, "removed"}
	case d.Old.Kind == KindDir && d.New.Kind == KindDir:
		return Change{join(d.Path, "."), "changed"}
	}
	return Change{d.Path, "changed"}
}
