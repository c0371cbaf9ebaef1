package pack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kilnbuild/kiln/internal/newfile"
	"github.com/kilnbuild/kiln/warehouse"
	"golang.org/x/sys/unix"
)

// ExportOptions says how a ware is copied out of the warehouse.
type ExportOptions struct {
	// Filters of unpacking. What is not set in them is as in ExportFilters.
	Filters  Filters
	Progress func(entries, bytes int64) // as in Options
}

// ExportFilters give all to whoever runs kiln and leave everything else as it is in
// the ware.
func ExportFilters() Filters {
	f := RioUnpackFilters()
	f.setid, f.dev = keep, keep
	return f
}

// Export copies a ware to dst, which must be missing or an empty directory; for a
// ware that is one file, missing. What is there is not replaced, and a symlink at
// dst is not followed. The copy is made beside dst and renamed when it is whole;
// only an empty directory that cannot be replaced, such as a mount point, is filled
// in place. Owners are those that the ware was packed with, whoever owns its fileset.
func Export(ctx context.Context, l *warehouse.Local, id warehouse.WareID, dst string, o ExportOptions) error {
	o.Filters = o.Filters.Over(ExportFilters())
	if err := export(ctx, l, id, filepath.Clean(dst), o); err != nil {
		return fmt.Errorf("export ware %s to %s: %w", id, dst, err)
	}
	return nil
}

func export(ctx context.Context, l *warehouse.Local, id warehouse.WareID, dst string, o ExportOptions) error {
	rec, err := l.Get(id)
	if err != nil {
		return err
	}
	there, err := exportable(rec, dst)
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dst), ".kiln-export-")
	if err != nil {
		if there {
			return exportInto(ctx, l, rec, dst, o)
		}
		return err
	}
	defer func() { _ = warehouse.RemoveTree(tmp) }()
	if err := copyOut(ctx, l, rec, tmp, o); err != nil {
		return err
	}
	if rec.File {
		return newfile.RenameNew(filepath.Join(tmp, "file"), dst)
	}
	if !there {
		return newfile.RenameNew(tmp, dst)
	}
	// Onto an empty directory, and no other, rename(2) replaces.
	err = unix.Rename(tmp, dst)
	if err == unix.ENOTEMPTY || err == nil {
		return err
	}
	return exportInto(ctx, l, rec, dst, o)
}

// exportable checks what is at dst, and reports whether it is an empty directory.
func exportable(rec warehouse.Record, dst string) (bool, error) {
	info, err := os.Lstat(dst)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if rec.File || !info.IsDir() {
		return false, fs.ErrExist
	}
	dir, err := os.Open(dst)
	if err != nil {
		return false, err
	}
	defer dir.Close()
	if _, err := dir.Readdirnames(1); err != io.EOF {
		return false, errors.Join(errors.New("the directory is not empty"), err)
	}
	return true, nil
}

// exportInto fills an empty directory, and empties it again after an error.
func exportInto(ctx context.Context, l *warehouse.Local, rec warehouse.Record, dst string, o ExportOptions) error {
	err := copyOut(ctx, l, rec, dst, o)
	if err == nil {
		return nil
	}
	names, listErr := os.ReadDir(dst)
	err = errors.Join(err, listErr)
	for _, name := range names {
		err = errors.Join(err, warehouse.RemoveTree(filepath.Join(dst, name.Name())))
	}
	return err
}

func copyOut(ctx context.Context, l *warehouse.Local, rec warehouse.Record, tmp string, o ExportOptions) error {
	f, err := OpenFileset(ctx, l, rec)
	if err != nil {
		return err
	}
	x := &exporter{list: f.Listing, filters: o.Filters, fifos: rec.ID.Packtype != Tree}
	w, err := newWalk(ctx, Options{Filters: storedFilters(), Progress: o.Progress}, x)
	if err != nil {
		return err
	}
	to, err := openat(unix.AT_FDCWD, tmp, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	w.keepDirs = true
	r, _, err := w.host(l.Fileset(rec), to)
	if err == nil && r.Tree != rec.Tree {
		if err = compare(l, rec, w.dirs); err != nil {
			err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
	return err
}
