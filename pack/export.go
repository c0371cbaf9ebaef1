package pack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kilnbuild/kiln/warehouse"
	"golang.org/x/sys/unix"
)

// Export copies a ware to dst, which must be missing or an empty directory; for a
// ware that is one file, missing. What is there is not replaced, and a symlink at
// dst is not followed. The copy is made beside dst and renamed when it is whole;
// only into an existing empty directory it is made in place.
func Export(ctx context.Context, l *warehouse.Local, id warehouse.WareID, dst string) error {
	if err := export(ctx, l, id, filepath.Clean(dst)); err != nil {
		return fmt.Errorf("export ware %s to %s: %w", id, dst, err)
	}
	return nil
}

func export(ctx context.Context, l *warehouse.Local, id warehouse.WareID, dst string) error {
	rec, err := l.Get(id)
	if err != nil {
		return err
	}
	info, err := os.Lstat(dst)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case rec.File || !info.IsDir():
		return fs.ErrExist
	default:
		names, err := os.ReadDir(dst)
		if err != nil {
			return err
		}
		if len(names) > 0 {
			return errors.New("the directory is not empty")
		}
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dst), ".kiln-export-")
	if err != nil {
		return err
	}
	defer func() { _ = warehouse.RemoveTree(tmp) }()
	if err := copyOut(ctx, l, rec, tmp); err != nil {
		return err
	}
	from := tmp
	if rec.File {
		from = filepath.Join(tmp, "file")
		return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, dst, unix.RENAME_NOREPLACE)
	}
	// Onto an empty directory, and no other, rename replaces.
	return os.Rename(from, dst)
}

func copyOut(ctx context.Context, l *warehouse.Local, rec warehouse.Record, tmp string) error {
	w, err := newWalk(ctx, Options{Filters: storedFilters()}, &ingester{})
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
