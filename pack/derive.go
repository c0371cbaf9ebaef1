package pack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

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
	f = f.Over(KeepFilters()).own()
	if base, err := l.Get(id); err != nil {
		return rec, err
	} else if made, err := l.Get(derivedID(base.Tree, f)); err == nil && Check(ctx, l, made.Tree) == nil {
		return l.Get(made.Tree)
	}
	c, err := OpenContents(ctx, l, id)
	if err != nil {
		return rec, err
	}
	if c.Record.File {
		rec, err = c.deriveFile(ctx, l, Options{Filters: f})
	} else {
		rec, err = c.deriveDir(ctx, l, f)
	}
	if err == nil && f.mtime.rule != now { // which is another one each time
		err = l.Alias(warehouse.Record{ID: derivedID(c.Record.Tree, f), Tree: rec.ID})
	}
	return rec, err
}

// derivedID is the name under which a derived ware is found again, so that it is made
// once: docs/formats.md, section 5.
func derivedID(tree warehouse.WareID, f Filters) warehouse.WareID {
	sum := sha256.Sum256([]byte(tree.String() + "\n" + f.String()))
	return warehouse.WareID{Packtype: "derived", Hash: hex.EncodeToString(sum[:])}
}

// own returns f with the caller's own ids in place of the word, in words of packing.
func (f Filters) own() Filters {
	if f.uid.rule == mine {
		f.uid = idFilter{set, uint32(os.Getuid())}
	}
	if f.gid.rule == mine {
		f.gid = idFilter{set, uint32(os.Getgid())}
	}
	f.unpack = false
	return f
}

// deriveDir makes it of a directory.
func (c *Contents) deriveDir(ctx context.Context, l *warehouse.Local, f Filters) (rec warehouse.Record, err error) {
	b, err := NewBuilder(ctx, l, BuildOptions{Options: Options{Filters: f}, MaxBytes: -1, MaxEntries: -1})
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

// deriveFile makes it of one file.
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
