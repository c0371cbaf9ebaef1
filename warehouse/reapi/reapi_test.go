package reapi_test

import (
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/kilnbuild/kiln/internal/testenv"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/reapi"
	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
	"github.com/kilnbuild/kiln/warehouse/serve"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

func open(t testing.TB, url string, o reapi.Options) warehouse.Store {
	t.Helper()
	s, err := reapi.Open(url, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (f *fake) url() string { return "grpc://" + f.addr }

func TestSuite(t *testing.T) {
	for name, o := range map[string]reapi.Options{"plain": {}, "compressed": {Compress: reapi.CompressAlways}} {
		t.Run(name, func(t *testing.T) {
			warehousetest.Run(t, func(t testing.TB) warehousetest.Place { return newFake(t).place(o) })
		})
	}
}

func (f *fake) place(o reapi.Options) warehousetest.Place {
	return warehousetest.Place{
		Open: func(t testing.TB) warehouse.Store { return open(t, f.url(), o) },
		ReadOnly: func(t testing.TB) warehouse.Store {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.readOnly = true
			return open(t, f.url(), o)
		},
		Edit: f.edit,
		Stalled: func(t testing.TB, reached func()) warehouse.Store {
			var once sync.Once
			f.piece = func(method string, sent int64, data []byte) ([]byte, error) {
				if sent < 1<<20 {
					return data, nil
				}
				once.Do(reached)
				<-t.Context().Done()
				return nil, t.Context().Err()
			}
			return open(t, f.url(), o)
		},
	}
}

// edit changes what the server has as the Tree message of a ware, of which it is
// fetched, and takes the ware away.
func (f *fake) edit(t testing.TB, id warehouse.WareID, edit func([]byte) []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var result remote.ActionResult
	if err := grpc.Unmarshal(f.results[remote.WareAction(id)], &result); err != nil {
		t.Fatal(err)
	}
	d := *result.Directories[0].Tree
	if edit == nil {
		delete(f.results, remote.WareAction(id))
		delete(f.blobs, d)
		return
	}
	f.blobs[d] = edit(f.blobs[d])
}

// kilnServer starts kiln's own server.
func kilnServer(t testing.TB, o serve.Options) string {
	t.Helper()
	o.Dir, o.MaxBytes = t.TempDir(), 1<<30
	s, err := serve.New(o)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done })
	return "grpc://" + l.Addr().String()
}

func TestSuiteKiln(t *testing.T) {
	for name, o := range map[string]reapi.Options{"plain": {}, "compressed": {Compress: reapi.CompressAlways}} {
		t.Run(name, func(t *testing.T) {
			warehousetest.Run(t, func(t testing.TB) warehousetest.Place {
				url := kilnServer(t, serve.Options{})
				return warehousetest.Place{Open: func(t testing.TB) warehouse.Store { return open(t, url, o) }}
			})
		})
	}
}

// TestSuiteReal runs the suite against any server that is empty, each test in an
// instance of its own.
func TestSuiteReal(t *testing.T) {
	url := os.Getenv("KILN_TEST_REAPI")
	if url == "" {
		testenv.Missing(t, "reapi", "start a REAPI cache, such as bazel-remote --dir DIR --max_size 10, and set KILN_TEST_REAPI=grpc://127.0.0.1:9092")
	}
	warehousetest.Run(t, func(t testing.TB) warehousetest.Place {
		url := url + "/" + strings.ReplaceAll(t.Name(), "/", "-")
		return warehousetest.Place{Open: func(t testing.TB) warehouse.Store {
			return open(t, url, reapi.Options{Compress: reapi.CompressAlways})
		}}
	})
}
