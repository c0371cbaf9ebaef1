package reapi_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/reapi"
	"github.com/kilnbuild/kiln/warehouse/serve"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

// TestUploadGoesOn breaks the connection in the middle of a large content: what the server
// has is not sent again, compressed or not, whether the server has noticed or not.
func TestUploadGoesOn(t *testing.T) {
	for _, half := range []bool{false, true} {
		t.Run(fmt.Sprintf("half %v", half), func(t *testing.T) {
			both(t, func(t *testing.T, o reapi.Options) {
				const size = 32 << 20
				l := warehousetest.OpenLocal(t)
				data := make([]byte, size)
				_, _ = rand.NewChaCha8([32]byte{41}).Read(data) // without errors
				dir := t.TempDir()
				must(t, os.WriteFile(filepath.Join(dir, "large"), data, 0o644))
				rec, err := pack.Ingest(t.Context(), l, dir, pack.Options{})
				must(t, err)
				addr := strings.TrimPrefix(kilnServer(t, serve.Options{}), "grpc://")
				cut := warehousetest.NewCut(t, addr, size*3/4, half)
				s := open(t, "grpc://"+cut.Addr, o)
				defer s.Close()
				must(t, s.Put(t.Context(), rec, l, warehouse.Transfer{}))
				if sent := cut.Sent.Load(); sent < size || sent > size*5/4 {
					t.Errorf("%d bytes were sent of %d", sent, size)
				}
				warehousetest.Get(t, s, rec)
			})
		})
	}
}
