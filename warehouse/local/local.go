// Package local makes a warehouse.Store of another warehouse on this machine's disks,
// such as one on a disk that is carried around. It keeps wares; memos are kept beside a
// warehouse, not in it.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// New returns a Store that keeps wares in l. Closing it closes l.
func New(l *warehouse.Local) warehouse.Store { return &store{l} }

// Open opens the warehouse in dir, which is there; one that cannot be written is open for
// reading only.
func Open(dir string) (warehouse.Store, error) {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is not a directory", dir)
	}
	if err != nil {
		return nil, err
	}
	l, err := warehouse.OpenLocal(dir)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		l, err = warehouse.OpenReader(dir)
	}
	if err != nil {
		return nil, err
	}
	return New(l), nil
}

type store struct{ l *warehouse.Local }

func (s *store) String() string { return (&url.URL{Scheme: "kiln", Path: s.l.Dir()}).String() }

func (s *store) Close() error { return s.l.Close() }

func (s *store) Has(ctx context.Context, ids []warehouse.WareID) ([]bool, error) {
	has := make([]bool, len(ids))
	for i, id := range ids {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		has[i] = s.l.Has(id)
	}
	return has, nil
}

// Get copies a ware, checking its content on the way. Of an alias it copies the tree,
// and names it.
func (s *store) Get(ctx context.Context, id warehouse.WareID, local *warehouse.Local, o warehouse.Transfer) (warehouse.Record, error) {
	rec, err := local.Get(id)
	if !errors.Is(err, warehouse.ErrMissing) {
		return rec, err
	}
	there, err := s.l.Get(id)
	if err == nil {
		rec, err = move(ctx, there, s.l, local, o)
	}
	if errors.Is(err, pack.ErrCorrupt) {
		err = fmt.Errorf("%w: %w", warehouse.ErrMismatch, err)
	}
	if err == nil && there.Alias {
		if err = local.Alias(there); err == nil {
			rec, err = local.Get(id)
		}
	}
	if err != nil {
		return warehouse.Record{}, fmt.Errorf("fetch ware %s from %s: %w", id, s, err)
	}
	return rec, nil
}

// Put copies a ware of local.
func (s *store) Put(ctx context.Context, rec warehouse.Record, local *warehouse.Local, o warehouse.Transfer) error {
	if s.l.Has(holder(rec)) {
		return nil
	}
	if _, err := move(ctx, rec, local, s.l, o); err != nil {
		return fmt.Errorf("put ware %s into %s: %w", rec.ID, s, err)
	}
	return nil
}

func holder(rec warehouse.Record) warehouse.WareID {
	if rec.Alias {
		return rec.Tree
	}
	return rec.ID
}

// move copies the fileset of rec from one warehouse into another, file by file: what two
// warehouses shared by hard links, a step that breaks into one could change in both.
func move(ctx context.Context, rec warehouse.Record, from, to *warehouse.Local, o warehouse.Transfer) (made warehouse.Record, err error) {
	id := holder(rec)
	c, err := pack.OpenContents(ctx, from, id)
	if err != nil {
		return made, err
	}
	options := pack.Options{Packtype: id.Packtype, Filters: pack.KeepFilters()}
	if o.Progress != nil {
		options.Progress = func(_, bytes int64) { o.Progress(bytes, rec.Bytes) }
	}
	b, err := pack.NewBuilder(ctx, to, pack.BuildOptions{Options: options, MaxBytes: -1, MaxEntries: -1, Want: id, RootFile: true})
	if err != nil {
		return made, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	err = c.Walk(func(e *pack.Entry, content io.Reader) error {
		if c.Record.File {
			e.Path = "."
		}
		return b.Add(e, content)
	})
	if err != nil {
		return made, err
	}
	return b.Commit()
}

func (s *store) Memo(_ context.Context, key warehouse.StepKey) ([]byte, error) {
	return nil, &warehouse.MissingError{What: "memo " + string(key)}
}

func (s *store) PutMemo(context.Context, warehouse.StepKey, []byte) error {
	return fmt.Errorf("%s: %w: it keeps wares only", s, warehouse.ErrReadOnly)
}
