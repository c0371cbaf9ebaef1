package pack

import (
	"context"
	"fmt"
	"io"

	"github.com/kilnbuild/kiln/warehouse"
)

// Derive makes the ware that id's fileset is under other filters, which may be in the
// words of packing or of unpacking. What they do not say stays as it is in id, owners
// too, as its Directory messages tell them: they are not on disk. The result is a tree,
// with a fileset of its own, however little it differs; id's own if nothing does. The
// error matches ErrCorrupt if id's fileset is not what its id says.
func Derive(ctx context.Context, l *warehouse.Local, id warehouse.WareID, f Filters) (warehouse.Record, error) {
	rec, err := derive(ctx, l, id, f)
	if err != nil {
		return warehouse.Record{}, fmt.Errorf("apply filters %s: %w", f, err)
	}
	return rec, nil
}

func derive(ctx context.Context, l *warehouse.Local, id warehouse.WareID, f Filters) (rec warehouse.Record, err error) {
	c, err := OpenContents(ctx, l, id)
	if err != nil {
		return rec, err
	}
	o := BuildOptions{Options: Options{Filters: f.Over(KeepFilters())}, MaxBytes: -1, MaxEntries: -1}
	if c.Record.File {
		return c.deriveFile(ctx, l, o.Options)
	}
	b, err := NewBuilder(ctx, l, o)
	if err != nil {
		return rec, err
	}
	defer func() {
		if closeErr := b.Close(); err == nil {
			err = closeErr
		}
	}()
	if err := c.Walk(b.Add); err != nil {
		return rec, err
	}
	return b.Commit()
}

// deriveFile does so for a ware that is one file.
func (c *Contents) deriveFile(ctx context.Context, l *warehouse.Local, o Options) (rec warehouse.Record, err error) {
	if err := Check(ctx, l, c.Record.ID); err != nil {
		return rec, err
	}
	err = c.Walk(func(e *Entry, _ io.Reader) error {
		if o.Filters.uid.rule == keep {
			o.Filters.uid = idFilter{set, e.UID}
		}
		if o.Filters.gid.rule == keep {
			o.Filters.gid = idFilter{set, e.GID}
		}
		return nil
	})
	if err != nil {
		return rec, err
	}
	return ingest(ctx, l, l.Fileset(c.Record), o)
}
