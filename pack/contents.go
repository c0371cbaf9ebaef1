package pack

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kilnbuild/kiln/warehouse"
	"golang.org/x/sys/unix"
)

// Contents are the entries of a ware in the local warehouse, as its record tells
// them: the Directory messages of which its tree id is the digest. Owners that
// filters kept are in them, though not on disk. What they say is proved by the id;
// the content of files is on disk, and is proved when it is read.
type Contents struct {
	Record warehouse.Record
	ctx    context.Context
	path   string // of the fileset's directory
	dirs   map[string][]byte
	root   string // key in dirs
}

// OpenContents looks a ware up and reads what its record says of its entries. A
// ware whose entries were not recorded is hashed for them. The error matches
// ErrCorrupt if that does not give the ware's id.
func OpenContents(ctx context.Context, l *warehouse.Local, id warehouse.WareID) (*Contents, error) {
	rec, err := l.Get(id)
	if err != nil {
		return nil, err
	}
	c := &Contents{Record: rec, ctx: ctx, path: strings.TrimSuffix(l.Fileset(rec), "/file")}
	kept, err := l.Dirs(rec)
	if err != nil {
		return nil, fmt.Errorf("read ware %s: %w", id, err)
	}
	if c.root, c.dirs, err = indexDirs(kept); err == nil && strings.HasPrefix(rec.Tree.Hash, c.root+"-") {
		return c, nil
	}
	w, r, _, err := rehash(ctx, l, rec, nil)
	if err != nil {
		return nil, corrupt(id, err)
	}
	if r.Tree != rec.Tree {
		return nil, fmt.Errorf("ware %s: %w, and what was recorded of it is lost", id, ErrCorrupt)
	}
	c.root, c.dirs, err = indexDirs(w.dirs)
	return c, err
}

// Walk calls f with each entry: directories before what is in them, the entries of
// one by name as bytes. The root has the path "."; of a ware that is one file, there
// is only the file, with the path "file". content is nil but for files. It is read,
// or not, before f returns, and ends with io.EOF only if it is what the ware's id says;
// else the error matches ErrCorrupt. Walk ends with the first error, which names the
// entry.
func (c *Contents) Walk(f func(e *Entry, content io.Reader) error) error {
	reader := &contentReader{c: c, dirfd: -1, fd: -1}
	defer reader.close()
	if reader.root, reader.err = openat(unix.AT_FDCWD, c.path, unix.O_RDONLY|unix.O_DIRECTORY, 0); reader.err != nil {
		return fmt.Errorf("ware %s: %w: %w", c.Record.ID, ErrCorrupt, reader.err)
	}
	root, nodes, err := c.directory(c.root)
	if err != nil {
		return err
	}
	if !c.Record.File {
		e := entryOf("", &root)
		if err := f(&e, nil); err != nil {
			return c.about(".", err)
		}
	}
	type frame struct {
		path  string
		nodes []node
	}
	for stack := []frame{{"", nodes}}; len(stack) > 0; {
		top := &stack[len(stack)-1]
		if len(top.nodes) == 0 {
			stack = stack[:len(stack)-1]
			continue
		}
		n := &top.nodes[0]
		top.nodes = top.nodes[1:]
		if err := c.ctx.Err(); err != nil {
			return err
		}
		path := join(top.path, n.name)
		if n.meta.kind == KindDir {
			meta, below, err := c.directory(hex.EncodeToString(n.digest.sum[:]))
			if err != nil {
				return c.about(path, err)
			}
			n.meta = meta
			stack = append(stack, frame{path, below})
		}
		e := entryOf(path, &n.meta)
		var content io.Reader
		if n.meta.kind == KindFile {
			e.Size = n.digest.size
			reader.begin(top.path, n)
			content = reader
		}
		if err := f(&e, content); err != nil {
			return c.about(path, err)
		}
	}
	return nil
}

func entryOf(path string, m *meta) Entry {
	if path == "" {
		path = "."
	}
	return m.entry(path)
}

// about names the ware and the entry that an error is about.
func (c *Contents) about(path string, err error) error {
	var known *EntryError
	if c.ctx.Err() == nil && !errors.As(err, &known) {
		err = &EntryError{path, err}
	}
	return fmt.Errorf("ware %s: %w", c.Record.ID, err)
}

// directory decodes a Directory message: of the directory itself, and its entries by
// name.
func (c *Contents) directory(hash string) (meta, []node, error) {
	msg, ok := c.dirs[hash]
	if !ok {
		return meta{}, nil, fmt.Errorf("%w: what was recorded of it is not complete", ErrCorrupt)
	}
	m, nodes, err := decodeDirectory(msg)
	if err != nil {
		return m, nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	sortNodes(nodes)
	return m, nodes, nil
}
