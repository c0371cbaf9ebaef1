package warehousetest

import (
	osexec "os/exec"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// BenchToolchain moves a whole ware, the Go toolchain that runs this, into and out of a
// place; beside it, what the same archive takes by other tools. empty opens a place that
// has nothing, and get is a command of the shell that writes what there is of an id.
func BenchToolchain(b *testing.B, empty func() warehouse.Store, get func(id warehouse.WareID) string) {
	l := OpenLocal(b)
	root, err := osexec.Command("go", "env", "GOROOT").Output()
	must(b, err)
	rec, err := pack.Ingest(b.Context(), l, strings.TrimSpace(string(root)), pack.Options{})
	must(b, err)
	var s warehouse.Store
	b.Run("put/kiln", func(b *testing.B) {
		b.SetBytes(rec.Bytes)
		for b.Loop() {
			b.StopTimer()
			s = empty()
			b.StartTimer()
			Put(b, s, l, rec)
		}
	})
	b.Run("get/kiln", func(b *testing.B) {
		if s == nil {
			s = empty()
			Put(b, s, l, rec)
		}
		b.SetBytes(rec.Bytes)
		for b.Loop() {
			b.StopTimer()
			into := OpenLocal(b)
			b.StartTimer()
			_, err := s.Get(b.Context(), rec.ID, into, warehouse.Transfer{CacheDir: b.TempDir()})
			must(b, err)
		}
	})
	b.Run("get/curl", func(b *testing.B) {
		if s == nil {
			s = empty()
			Put(b, s, l, rec)
		}
		command := get(rec.ID)
		b.SetBytes(rec.Bytes)
		for b.Loop() {
			b.StopTimer()
			cmd := osexec.Command("sh", "-c", command+` | zstd -dc | tar x -C "$1"`, "sh", b.TempDir())
			b.StartTimer()
			if out, err := cmd.CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
		}
	})
}
