package s3

import (
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/s3/s3test"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

// TestStoreKilled kills the server in the middle of transfers of wares.
func TestStoreKilled(t *testing.T) {
	alone(t)
	s := s3test.Start(t)
	warehousetest.Killed(t, s.Server, func(t testing.TB) warehouse.Store {
		o := known()
		o.PartSize = 8 << 20
		b, err := Open(t.Context(), s.URL(""), o)
		if err != nil {
			t.Fatal(err)
		}
		return packed.New(b)
	})
}

// TestStore runs the suite against a real server; each test has a prefix of its own.
func TestStore(t *testing.T) {
	alone(t)
	s := s3test.Start(t)
	reader := s.With(t, "--readonly")
	o := known()
	o.PartSize = 5 << 20 // so that large wares travel in parts
	var places atomic.Int64
	warehousetest.Run(t, func(t testing.TB) warehousetest.Place {
		prefix := "place" + string(rune('a'+places.Add(1)))
		openAt := func(s *s3test.Server) func(t testing.TB) warehouse.Store {
			return func(t testing.TB) warehouse.Store {
				b, err := Open(t.Context(), s.URL(prefix), o)
				if err != nil {
					t.Fatal(err)
				}
				return packed.New(b)
			}
		}
		return warehousetest.Place{
			Open:     openAt(s),
			ReadOnly: openAt(reader),
			Edit: func(t testing.TB, id warehouse.WareID, edit func([]byte) []byte) {
				path := filepath.Join(s.Dir, "data", s3test.Bucket, prefix, packed.Path(id.String()))
				data, err := os.ReadFile(path)
				if err == nil && edit == nil {
					err = os.Remove(path)
				} else if err == nil {
					err = os.WriteFile(path, edit(data), 0o644)
				}
				if err != nil {
					t.Fatal(err)
				}
			},
			Stalled: func(t testing.TB, reached func()) warehouse.Store {
				stalling := o
				stalling.Transport = &warehousetest.Stall{N: 1 << 20, Reached: reached}
				b, err := Open(t.Context(), s.URL(prefix), stalling)
				if err != nil {
					t.Fatal(err)
				}
				return packed.New(b)
			},
		}
	})
}
