package oci

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

// TestStore runs the suite against a real registry; each test has a repository of its own.
// What it damages are the registry's files.
func TestStore(t *testing.T) {
	suite(t, func(t testing.TB, dir string, r *Repository, name string, edit func([]byte) []byte) {
		path := data(t, dir, r, name)
		old, err := os.ReadFile(path)
		must(t, err)
		must(t, os.WriteFile(path, edit(old), 0o644))
	})
}

// TestForged runs it against a registry whose artifacts are replaced by others, of which
// the digests are right.
func TestForged(t *testing.T) {
	suite(t, func(t testing.TB, _ string, r *Repository, name string, edit func([]byte) []byte) {
		o, err := r.Open(t.Context(), name, 0, "")
		must(t, err)
		defer o.Close()
		old, err := io.ReadAll(o)
		must(t, err)
		put(t, r, name, edit(bytes.Clone(old)))
	})
}

// kept is where the registry keeps everything.
const kept = "images/docker/registry/v2"

// data returns the file that the registry keeps the bytes of an object in.
func data(t testing.TB, dir string, r *Repository, name string) string {
	t.Helper()
	_, blob, err := r.find(t.Context(), name)
	must(t, err)
	return filepath.Join(dir, kept, "blobs/sha256", blob.Digest.Encoded()[:2], blob.Digest.Encoded(), "data")
}

func suite(t *testing.T, edit func(t testing.TB, dir string, r *Repository, name string, edit func([]byte) []byte)) {
	dir, addr := startAt(t, false)
	proxy := refusing(t, addr)
	var places atomic.Int64
	warehousetest.Run(t, func(t testing.TB) warehousetest.Place {
		repo := "place/p" + strconv.FormatInt(places.Add(1), 10)
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
			Edit: func(t testing.TB, id warehouse.WareID, by func([]byte) []byte) {
				r := open(t, "oci://"+addr+"/"+repo, Options{})
				if by != nil {
					edit(t, dir, r, id.String(), by)
					return
				}
				must(t, os.RemoveAll(filepath.Dir(data(t, dir, r, id.String()))))
				must(t, os.RemoveAll(filepath.Join(dir, kept, "repositories", repo)))
			},
			Stalled: func(t testing.TB, reached func()) warehouse.Store {
				return openAt(addr, Options{Transport: &warehousetest.Stall{N: 1 << 20, Reached: reached}})(t)
			},
		}
	})
}
