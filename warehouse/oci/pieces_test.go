package oci

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kilnbuild/kiln/internal/testenv"
	"github.com/kilnbuild/kiln/pack/oci/ocitest"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

// TestPieces puts an object in pieces and reads it from everywhere.
func TestPieces(t *testing.T) {
	dir, addr := startAt(t, false)
	r := open(t, "oci://"+addr+"/team/wares", Options{PieceSize: 1000})
	for _, size := range []int{0, 1, 999, 1000, 1001, 3000, 3500} {
		data := zstd(4000)[:size]
		put(t, r, ware, data)
		list, err := r.find(t.Context(), ware)
		must(t, err)
		if want := max(1, (size+999)/1000); len(list) != want {
			t.Errorf("%d bytes are in %d pieces, want %d", size, len(list), want)
		}
		for _, offset := range []int{0, 1, 500, 999, 1000, 1001, 2500, 3499} {
			if offset > 0 && offset >= size {
				continue
			}
			if got, o := warehousetest.Read(t, r, ware, int64(offset), ""); !bytes.Equal(got, data[offset:]) || o.Offset != int64(offset) || o.Size != int64(size) {
				t.Errorf("from %d of %d: %d bytes from %d of %d", offset, size, len(got), o.Offset, o.Size)
			}
		}
	}
	list, err := r.find(t.Context(), ware)
	must(t, err)
	path := filepath.Join(dir, kept, "blobs/sha256", list[2].Digest.Encoded()[:2], list[2].Digest.Encoded(), "data")
	data, err := os.ReadFile(path)
	must(t, err)
	data[0] ^= 1
	must(t, os.WriteFile(path, data, 0o644))
	o, err := r.Open(t.Context(), ware, 0, "")
	must(t, err)
	defer o.Close()
	if n, err := io.Copy(io.Discard, o); !errors.Is(err, warehouse.ErrMismatch) {
		t.Errorf("a piece was changed: %d bytes, %v", n, err)
	}
}

// TestPiecesStay breaks an upload off for good: the next one, of another kiln, sends only
// what is missing.
func TestPiecesStay(t *testing.T) {
	const pieces, size = 8, 1 << 20
	addr := start(t, false)
	var sent atomic.Int64
	var broken atomic.Bool
	before := proxy(t, addr, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPatch {
			return false
		}
		if broken.Load() && sent.Load() >= 5*size {
			panic(http.ErrAbortHandler)
		}
		sent.Add(r.ContentLength)
		return false
	})
	data := zstd(pieces * size)
	broken.Store(true)
	r := open(t, "oci://"+before+"/team/wares", Options{PieceSize: size})
	if err := r.Put(t.Context(), ware, bytes.NewReader(data), int64(len(data))); err == nil || !strings.Contains(err.Error(), before) {
		t.Fatalf("broken off: %v", err)
	}
	broken.Store(false)
	r = open(t, "oci://"+before+"/team/wares", Options{PieceSize: size})
	put(t, r, ware, data)
	if n := sent.Load(); n > int64(len(data))+100 {
		t.Errorf("%d bytes were sent of %d", n, len(data))
	}
	if got, _ := warehousetest.Read(t, r, ware, 0, ""); !bytes.Equal(got, data) {
		t.Errorf("read %d bytes", len(got))
	}
}

// TestKilled kills the registry in the middle of transfers, and starts it again.
func TestKilled(t *testing.T) {
	alone(t)
	testenv.Tool(t, "docker-registry", "apt-get install docker-registry")
	s, err := ocitest.Start(t.TempDir(), false)
	must(t, err)
	t.Cleanup(s.Kill)
	warehousetest.Killed(t, s, func(t testing.TB) warehouse.Store {
		r, err := Open(t.Context(), "oci://"+s.Addr+"/team/wares", Options{PieceSize: 8 << 20})
		must(t, err)
		return packed.New(r)
	})
}
