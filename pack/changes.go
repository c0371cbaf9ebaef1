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
	c := comparison{limit: limit}
	var wantRoot, gotRoot string
	if c.want, wantRoot, err = readDirs(kept); err == nil {
		c.got, gotRoot, err = readDirs(w.dirs)
	}
	if err != nil {
		return nil, false, fmt.Errorf("compare %s with ware %s: %w", path, old, err)
	}
	c.compare(wantRoot, gotRoot, "")
	return c.changes, c.more, nil
}

// comparison is the state of one Changes.
type comparison struct {
	want, got map[string]treeDir
	limit     int
	changes   []Change
	more      bool
}

func (c *comparison) add(path, what string) {
	if len(c.changes) == c.limit {
		c.more = true
		return
	}
	c.changes = append(c.changes, Change{path, what})
}

// compare collects the changes between two directories, given by their hashes.
func (c *comparison) compare(wantHash, gotHash, path string) {
	if wantHash == gotHash || c.more {
		return
	}
	want, got := c.want[wantHash], c.got[gotHash]
	a, b := want.entries, got.entries
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].name < b[0].name:
			c.add(join(path, a[0].name), "removed")
			a = a[1:]
		case len(a) == 0 || b[0].name < a[0].name:
			c.add(join(path, b[0].name), "added")
			b = b[1:]
		default:
			if a[0].kind == "directory" && b[0].kind == "directory" {
				c.compare(a[0].hash, b[0].hash, join(path, a[0].name))
			} else if differs(a[0], b[0]) != "" {
				c.add(join(path, a[0].name), "changed")
			}
			a, b = a[1:], b[1:]
		}
	}
	if want.props != got.props {
		c.add(join(path, "."), "changed")
	}
}
