package http

import (
	"context"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/internal/retry"
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

// noPause does not pause between tries.
var noPause = retry.Policy{Pause: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}

func openStore(t testing.TB, url string) warehouse.Store {
	t.Helper()
	o, err := Open(url, Options{Retry: noPause})
	must(t, err)
	return packed.New(o)
}

// TestNginx runs the suite against nginx with its dav module.
func TestNginx(t *testing.T) {
	warehousetest.Run(t, func(t testing.TB) warehousetest.Place {
		dir := t.TempDir()
		writable := warehousetest.Nginx(t, dir, true).URL()
		return warehousetest.Place{
			Open:     func(t testing.TB) warehouse.Store { return openStore(t, writable) },
			ReadOnly: func(t testing.TB) warehouse.Store { return openStore(t, warehousetest.Nginx(t, dir, false).URL()) },
			Edit:     editor(dir),
			Stalled: func(t testing.TB, reached func()) warehouse.Store {
				return openStore(t, stalling(t, dir, reached))
			},
		}
	})
}

// TestKilled kills nginx in the middle of transfers, and starts it again.
func TestKilled(t *testing.T) {
	s := warehousetest.Nginx(t, t.TempDir(), true)
	warehousetest.Killed(t, s, func(t testing.TB) warehouse.Store {
		o, err := Open(s.URL(), Options{})
		must(t, err)
		return packed.New(o)
	})
}

// editor changes objects in a directory.
func editor(dir string) func(t testing.TB, id warehouse.WareID, edit func([]byte) []byte) {
	return func(t testing.TB, id warehouse.WareID, edit func([]byte) []byte) {
		path := filepath.Join(dir, packed.Path(id.String()))
		if edit == nil {
			must(t, os.Remove(path))
			return
		}
		data, err := os.ReadFile(path)
		must(t, err)
		must(t, os.WriteFile(path, edit(data), 0o644))
	}
}

// stalling serves a directory, of each file only half.
func stalling(t testing.TB, dir string, reached func()) string {
	t.Helper()
	s := httptest.NewServer(nethttp.HandlerFunc(func(w nethttp.ResponseWriter, r *nethttp.Request) {
		f, err := os.Open(filepath.Join(dir, filepath.Clean(r.URL.Path)))
		if err != nil {
			nethttp.NotFound(w, r)
			return
		}
		defer f.Close()
		info, err := f.Stat()
		if err == nil {
			_, err = io.CopyN(w, f, info.Size()/2)
		}
		if err == nil {
			w.(nethttp.Flusher).Flush()
			reached()
		}
		<-r.Context().Done()
	}))
	t.Cleanup(s.Close)
	return s.URL
}
