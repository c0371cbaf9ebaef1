package file

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openStore(t testing.TB, dir string) warehouse.Store {
	t.Helper()
	o, err := Open(dir)
	must(t, err)
	return packed.New(o)
}

func TestStore(t *testing.T) {
	warehousetest.Run(t, func(t testing.TB) warehousetest.Place {
		dir := t.TempDir()
		return warehousetest.Place{
			Open:     func(t testing.TB) warehouse.Store { return openStore(t, dir) },
			ReadOnly: func(t testing.TB) warehouse.Store { return openStore(t, readOnly(t, dir)) },
			Edit: func(t testing.TB, id warehouse.WareID, edit func([]byte) []byte) {
				path := filepath.Join(dir, packed.Path(id.String()))
				if edit == nil {
					must(t, os.Remove(path))
					return
				}
				data, err := os.ReadFile(path)
				must(t, err)
				must(t, os.WriteFile(path, edit(data), 0o644))
			},
		}
	})
}

// readOnly returns a path at which dir cannot be written: for root a mount.
func readOnly(t testing.TB, dir string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		must(t, os.Chmod(dir, 0o555))
		t.Cleanup(func() { must(t, os.Chmod(dir, 0o755)) })
		return dir
	}
	at := t.TempDir()
	if err := unix.Mount(dir, at, "", unix.MS_BIND, ""); err != nil {
		t.Skip("root may not mount here: ", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(at, unix.MNT_DETACH)) })
	must(t, unix.Mount("", at, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	return at
}

// TestNotThere: a directory that is not there is an error, not an empty warehouse, and is
// not made: it may be on a disk that is not mounted.
func TestNotThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	s, l := openStore(t, dir), warehousetest.OpenLocal(t)
	rec := warehousetest.Small(t, l, "nowhere")
	_, err := s.Get(t.Context(), rec.ID, warehousetest.OpenLocal(t), warehouse.Transfer{})
	_, hasErr := s.Has(t.Context(), []warehouse.WareID{rec.ID})
	for _, err := range []error{err, hasErr, s.Put(t.Context(), rec, l, warehouse.Transfer{})} {
		if err == nil || errors.Is(err, warehouse.ErrMissing) || !strings.Contains(err.Error(), "there is no directory "+dir) {
			t.Error(err)
		}
	}
}
