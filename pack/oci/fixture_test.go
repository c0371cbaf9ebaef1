package oci

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/oci/ocitest"
	"github.com/kilnbuild/kiln/warehouse"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openLocal(t testing.TB) *warehouse.Local {
	t.Helper()
	dir := t.TempDir()
	l, err := warehouse.OpenLocal(filepath.Join(dir, "warehouse"))
	must(t, err)
	t.Cleanup(func() {
		l.Close()
		must(t, warehouse.RemoveTree(dir))
	})
	return l
}

// unpack unpacks what ref names in the layout.
func unpack(l *ocitest.Layout, w *warehouse.Local, ref, platform string, o pack.BuildOptions) (warehouse.Record, *Image, error) {
	ctx := context.Background()
	layout, err := OpenLayout(l.Dir)
	if err != nil {
		return warehouse.Record{}, nil, err
	}
	d, err := layout.Resolve(ref, platform)
	if err != nil {
		return warehouse.Record{}, nil, err
	}
	img, err := Load(ctx, layout, d, platform)
	if err != nil {
		return warehouse.Record{}, nil, err
	}
	rec, err := img.Unpack(ctx, w, o)
	return rec, img, err
}

// listing says what is in a fileset, a line for each entry but the root.
func listing(t testing.TB, dir string) string {
	t.Helper()
	var lines []string
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		switch info, err := d.Info(); {
		case err != nil:
			return err
		case d.IsDir():
			lines = append(lines, name+"/")
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(path)
			lines = append(lines, name+" -> "+target)
			return err
		case !info.Mode().IsRegular():
			lines = append(lines, name+" ?")
		default:
			data, err := os.ReadFile(path)
			lines = append(lines, name+" "+string(data))
			return err
		}
		return nil
	}))
	return strings.Join(lines, "\n")
}

// pipe puts a named pipe at path, which nobody will write to.
func pipe(t testing.TB, path string) {
	must(t, os.Remove(path))
	must(t, unix.Mkfifo(path, 0o644))
}
