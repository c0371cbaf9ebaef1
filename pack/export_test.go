package pack

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/warehouse"
)

func TestExportRefuses(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	dir := t.TempDir()
	sample(t, dir+"/src")
	tree, err := Ingest(ctx, l, dir+"/src", Options{})
	must(t, err)
	file, err := Ingest(ctx, l, dir+"/src/run", Options{})
	must(t, err)
	must(t, os.Mkdir(dir+"/empty", 0o755))
	must(t, os.Symlink("empty", dir+"/link"))
	must(t, os.Symlink("nowhere", dir+"/dangling"))
	for _, c := range []struct {
		rec warehouse.Record
		dst string
	}{
		{tree, "src"}, {tree, "src/run"}, {tree, "link"}, {tree, "dangling"}, {tree, "none/x"},
		{file, "src"}, {file, "src/run"}, {file, "empty"}, {file, "link"}, {file, "dangling"},
	} {
		if err := Export(ctx, l, c.rec.ID, dir+"/"+c.dst, ExportOptions{}); err == nil {
			t.Errorf("exported %s to %s", c.rec.ID, c.dst)
		}
	}
	after, err := Scan(ctx, dir+"/src", Options{})
	if err != nil || after.ID != tree.ID {
		t.Errorf("what was there has changed: %v, %v", after, err)
	}
	if names, err := filepath.Glob(dir + "/.*"); len(names) > 0 || err != nil {
		t.Errorf("left %v, %v", names, err)
	}
	if _, err := os.Lstat(dir + "/nowhere"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a symlink was followed")
	}
	if err := Export(ctx, l, warehouse.WareID{Packtype: Tree, Hash: "none"}, dir+"/new", ExportOptions{}); !errors.Is(err, warehouse.ErrMissing) {
		t.Errorf("got %v", err)
	}
}

func TestExportIntoMountPoint(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	dir := t.TempDir()
	sample(t, dir+"/src")
	rec, err := Ingest(ctx, l, dir+"/src", Options{})
	must(t, err)
	must(t, os.Mkdir(dir+"/mount", 0o755))
	if err := unix.Mount("kiln-test", dir+"/mount", "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("mounting needs root: ", err)
	}
	t.Cleanup(func() { unix.Unmount(dir+"/mount", unix.MNT_DETACH) })
	must(t, Export(ctx, l, rec.ID, dir+"/mount", ExportOptions{}))
	got, err := Scan(ctx, dir+"/mount", Options{})
	if err != nil || got.ID != rec.ID {
		t.Errorf("got %v, %v, want %v", got, err, rec)
	}
}

// TestExportCorrupt exports a ware that was changed on disk.
func TestExportCorrupt(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	dir := t.TempDir()
	sample(t, dir+"/src")
	rec, err := Ingest(ctx, l, dir+"/src", Options{})
	must(t, err)
	must(t, os.WriteFile(l.Fileset(rec)+"/zero", []byte("x"), 0o644))
	if err := Export(ctx, l, rec.ID, dir+"/out", ExportOptions{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(dir + "/out"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a corrupt ware was exported")
	}
}
