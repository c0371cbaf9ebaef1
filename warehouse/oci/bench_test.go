package oci

import (
	osexec "os/exec"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

// BenchmarkToolchain moves a whole ware, the Go toolchain that runs this, into and out of
// a registry; beside it, what the same archive takes by other tools.
func BenchmarkToolchain(b *testing.B) {
	addr := start(b, false)
	l := warehousetest.OpenLocal(b)
	rec, err := pack.Ingest(b.Context(), l, goroot(b), pack.Options{})
	must(b, err)
	b.Run("put/kiln", func(b *testing.B) {
		b.SetBytes(rec.Bytes)
		for b.Loop() {
			b.StopTimer()
			fresh := start(b, false) // a registry deletes nothing
			b.StartTimer()
			warehousetest.Put(b, packed.New(open(b, "oci://"+fresh+"/wares", Options{})), l, rec)
		}
	})
	r := open(b, "oci://"+addr+"/wares", Options{})
	store := packed.New(r)
	warehousetest.Put(b, store, l, rec)
	b.Run("get/kiln", func(b *testing.B) {
		b.SetBytes(rec.Bytes)
		for b.Loop() {
			b.StopTimer()
			into := warehousetest.OpenLocal(b)
			b.StartTimer()
			_, err := store.Get(b.Context(), rec.ID, into, warehouse.Transfer{CacheDir: b.TempDir()})
			must(b, err)
		}
	})
	b.Run("get/curl", func(b *testing.B) {
		list, err := r.find(b.Context(), rec.ID.String())
		must(b, err)
		b.SetBytes(rec.Bytes)
		for b.Loop() {
			b.StopTimer()
			cmd := osexec.Command("sh", "-c", `curl -sf "$1" | zstd -dc | tar x -C "$2"`, "sh",
				"http://"+addr+"/v2/wares/blobs/"+list[0].Digest.String(), b.TempDir())
			b.StartTimer()
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
	})
}

// goroot is where the Go toolchain lies that runs this.
func goroot(b *testing.B) string {
	out, err := osexec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
