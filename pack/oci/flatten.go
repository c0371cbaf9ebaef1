package oci

import (
	"archive/tar"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/archive"
)

// Names that an image's layers keep for what they take away.
const (
	whiteout       = ".wh."         // before the name of what is gone
	whiteoutMeta   = ".wh..wh."     // aufs's own, and:
	whiteoutOpaque = ".wh..wh..opq" // all that was in this directory is gone
)

// A flattener applies layers to a fileset, the lowest first.
type flattener struct {
	b       *pack.Builder
	tree    *tree
	entries int64 // headers that may still come
	limit   int64 // of them
}

// apply applies one layer, whose tar stream is r.
func (f *flattener) apply(ctx context.Context, r io.Reader) error {
	f.tree.layer++
	f.tree.forget()
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return ctx.Err()
		}
		if err == io.ErrUnexpectedEOF {
			return errors.New("it is truncated")
		}
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return err
		}
		if f.entries--; f.entries < 0 {
			return &pack.EntryError{Path: h.Name, Err: fmt.Errorf("with it the layers have more entries than the %d allowed", f.limit)}
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err := f.entry(h, tr); err != nil {
			if named := (*pack.EntryError)(nil); errors.As(err, &named) {
				return err
			}
			return &pack.EntryError{Path: h.Name, Err: err}
		}
	}
}

func (f *flattener) entry(h *tar.Header, content io.Reader) error {
	dir, base, err := split(h.Name)
	if err != nil {
		return err
	}
	e, err := archive.EntryOf(h)
	if err != nil {
		return err
	}
	if base == "" {
		if e.Kind != pack.KindDir {
			return errors.New("the root of an image can only be a directory")
		}
		e.Path = "."
		return f.b.Add(&e, nil)
	}
	at, err := f.tree.resolve(dir)
	if err != nil {
		return err
	}
	if strings.HasPrefix(base, whiteout) {
		return f.whiteout(at, base)
	}
	if err := f.tree.make(at); err != nil {
		return err
	}
	e.Path = at.name(base)
	if e.Kind == pack.KindHardlink {
		if err := f.hardlink(&e); err != nil {
			return err
		}
	}
	return f.add(at, base, &e, content)
}

// split splits a name into its directory and its last component, which is empty for
// the root. Absolute names are of the image, as everywhere.
func split(name string) (dir, base string, err error) {
	for c := range strings.SplitSeq(name, "/") {
		if c == ".." {
			return "", "", errors.New(`its path has ".." in it`)
		}
	}
	dir, base = path.Split(strings.TrimLeft(path.Clean("/"+name), "/"))
	dir = strings.TrimSuffix(dir, "/")
	for c := range strings.SplitSeq(dir, "/") {
		if strings.HasPrefix(c, whiteoutMeta) {
			return "", c, nil // a directory of aufs's own, which is skipped like its other things
		}
		if strings.HasPrefix(c, whiteout) {
			return "", "", fmt.Errorf("its path leads through %q, and names that begin with %s stand for what is gone", c, whiteout)
		}
	}
	return dir, base, nil
}

// add puts an entry in its place, and takes away what it replaces.
func (f *flattener) add(at *place, base string, e *pack.Entry, content io.Reader) error {
	now := &entry{kind: e.Kind, link: e.Link}
	if e.Kind == pack.KindHardlink {
		now = &entry{kind: pack.KindFile}
	}
	old := at.entry().kids[base]
	switch {
	case old != nil && old.kind == pack.KindDir && now.kind == pack.KindDir:
		old.layer = f.tree.layer
		return f.b.Add(e, content)
	case old != nil && old.kind != now.kind:
		// What the filters or patterns leave out must not leave the old one.
		if err := f.b.Remove(e.Path); err != nil {
			return err
		}
	}
	f.tree.put(at, base, now)
	return f.b.Add(e, content)
}

// hardlink finds what e is a link to: a file, or a symlink, of which a ware has another.
func (f *flattener) hardlink(e *pack.Entry) error {
	dir, base, err := split(e.Link)
	var at *place
	if err == nil {
		last, saved := f.tree.last, f.tree.dir
		at, err = f.tree.resolve(dir)
		f.tree.last, f.tree.dir = last, saved
	}
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", e.Link, err)
	}
	target := at.entry().child(base)
	switch {
	case target == nil || target.kind != pack.KindFile && target.kind != pack.KindSymlink:
		return fmt.Errorf("hard link to %q: the image has no such file", e.Link)
	case target.kind == pack.KindSymlink:
		e.Kind, e.Link = pack.KindSymlink, target.link
	default:
		link := e.Link
		if e.Link = at.name(base); f.b.Takes(e.Path, false) && !f.b.Takes(e.Link, false) {
			return fmt.Errorf("hard link to %q, which include and exclude leave out: take both or neither", link)
		}
	}
	return nil
}

// whiteout takes away what lower layers have at a name, or in a directory. What this
// layer has there stays, whether it came before or comes after.
func (f *flattener) whiteout(at *place, base string) error {
	if base == whiteoutOpaque {
		if dir := at.entry(); dir != nil && dir.kind == pack.KindDir {
			return f.clear(dir, strings.Join(at.path, "/"))
		}
		return nil
	}
	if strings.HasPrefix(base, whiteoutMeta) {
		return nil
	}
	name := strings.TrimPrefix(base, whiteout)
	if name == "" || name == "." || name == ".." {
		return errors.New("it is a whiteout that names nothing in its directory")
	}
	dir := at.entry()
	if target := dir.child(name); target != nil {
		return f.remove(dir, target, at.name(name), name)
	}
	return nil
}

// remove takes away target, which is called name in dir, but for what this layer has of it.
func (f *flattener) remove(dir, target *entry, path, name string) error {
	if target.layer == f.tree.layer {
		if target.kind == pack.KindDir {
			return f.clear(target, path)
		}
		return nil
	}
	f.tree.forget()
	delete(dir.kids, name)
	return f.b.Remove(path)
}

// clear takes away what lower layers have in dir. What it leaves is this layer's, so
// that it has nothing to do the next time.
func (f *flattener) clear(dir *entry, path string) error {
	if dir.clear == f.tree.layer+1 {
		return nil
	}
	dir.clear = f.tree.layer + 1
	for name, kid := range dir.kids {
		below := name
		if path != "" {
			below = path + "/" + name
		}
		if err := f.remove(dir, kid, below, name); err != nil {
			return err
		}
	}
	return nil
}
