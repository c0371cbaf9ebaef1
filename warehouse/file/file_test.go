package file

import (
	"os"
	"path/filepath"
	"testing"

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
			Open: func(t testing.TB) warehouse.Store { return openStore(t, dir) },
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
