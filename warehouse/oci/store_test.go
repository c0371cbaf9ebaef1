package oci

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

// TestStore runs the suite against a real registry; each test has a repository of its own.
// What it damages are the registry's files.
func TestStore(t *testing.T) {
	alone(t)
	warehousetest.Run(t, func(t testing.TB) warehousetest.Place {
		// A registry keeps a blob once, whatever the repository: edits would be felt elsewhere.
		dir, addr := startBeside(t, false)
		proxy := refusing(t, addr)
		const repo = "place/wares"
		openAt := func(addr string, o Options) func(t testing.TB) warehouse.Store {
			return func(t testing.TB) warehouse.Store {
				r, err := Open(t.Context(), "oci://"+addr+"/"+repo, o)
				must(t, err)
				return packed.New(r)
			}
		}
		return warehousetest.Place{
			Open:     openAt(addr, Options{}),
			ReadOnly: openAt(proxy, Options{}),
			Edit: func(t testing.TB, id warehouse.WareID, edit func([]byte) []byte) {
				r := open(t, "oci://"+addr+"/"+repo, Options{})
				path := data(t, dir, r, id.String())
				if edit == nil {
					must(t, os.RemoveAll(filepath.Dir(path)))
					must(t, os.RemoveAll(filepath.Join(dir, kept, "repositories", repo)))
					return
				}
				old, err := os.ReadFile(path)
				must(t, err)
				must(t, os.WriteFile(path, edit(old), 0o644))
			},
			Stalled: func(t testing.TB, reached func()) warehouse.Store {
				return openAt(addr, Options{Transport: &warehousetest.Stall{N: 1 << 20, Reached: reached}})(t)
			},
		}
	})
}

// TestForged has artifacts exchanged for others, of which all digests are right: the
// ware's own hash tells.
func TestForged(t *testing.T) {
	addr := start(t, false)
	r := open(t, "oci://"+addr+"/team/wares", Options{})
	store := packed.New(r)
	l := warehousetest.OpenLocal(t)
	wanted, other := warehousetest.Small(t, l, "wanted"), warehousetest.Small(t, l, "other")
	warehousetest.Put(t, store, l, wanted)
	warehousetest.Put(t, store, l, other)
	right, _ := warehousetest.Read(t, r, wanted.ID.String(), 0, "")
	forged, _ := warehousetest.Read(t, r, other.ID.String(), 0, "")
	for name, data := range map[string][]byte{"another ware": forged, "half": right[:len(right)/2], "nothing": nil, "a page": []byte("<html>")} {
		put(t, r, wanted.ID.String(), data)
		_, err := store.Get(t.Context(), wanted.ID, warehousetest.OpenLocal(t), warehouse.Transfer{})
		if !errors.Is(err, warehouse.ErrMismatch) || !strings.Contains(err.Error(), r.String()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	put(t, r, wanted.ID.String(), right)
	warehousetest.Get(t, store, wanted)
}

// kept is where the registry keeps everything.
const kept = "images/docker/registry/v2"

// data returns the file that the registry keeps the bytes of an object in.
func data(t testing.TB, dir string, r *Repository, name string) string {
	t.Helper()
	list, err := r.find(t.Context(), name)
	must(t, err)
	blob := list[0]
	return filepath.Join(dir, kept, "blobs/sha256", blob.Digest.Encoded()[:2], blob.Digest.Encoded(), "data")
}
