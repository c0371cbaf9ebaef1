package http

import (
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/internal/testenv"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/file"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

// BenchmarkFetch fetches the Go toolchain from nginx on this machine, by turns with
// curl | zstd -d | tar x, and reports the medians and their ratio.
func BenchmarkFetch(b *testing.B) {
	for _, tool := range []string{"curl", "zstd", "tar"} {
		testenv.Tool(b, tool, "apt-get install "+tool)
	}
	dir, l := b.TempDir(), warehousetest.OpenLocal(b)
	root, err := osexec.Command("go", "env", "GOROOT").Output()
	must(b, err)
	rec, err := pack.Ingest(b.Context(), l, strings.TrimSpace(string(root)), pack.Options{Exclude: []string{"pkg/obj"}})
	must(b, err)
	objects, err := file.Open(dir)
	must(b, err)
	warehousetest.Put(b, packed.New(objects), l, rec)
	url := warehousetest.Nginx(b, dir, false).URL()
	b.SetBytes(rec.Bytes)
	var ours, theirs []time.Duration
	for b.Loop() {
		into, cache := warehousetest.OpenLocal(b), b.TempDir()
		start := time.Now()
		_, err := openStore(b, url).Get(b.Context(), rec.ID, into, warehouse.Transfer{CacheDir: cache})
		must(b, err)
		ours = append(ours, time.Since(start))
		must(b, warehouse.RemoveTree(into.Dir()+"/fileset"))

		dst := filepath.Join(b.TempDir(), "dst")
		start = time.Now()
		out, err := osexec.Command("sh", "-ec", `mkdir "$1"; curl -sSf "$0" | zstd -dc | tar xf - -C "$1"`,
			url+packed.Path(rec.ID.String()), dst).CombinedOutput()
		if err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		theirs = append(theirs, time.Since(start))
		must(b, warehouse.RemoveTree(dst))
	}
	a, c := median(ours), median(theirs)
	b.ReportMetric(a.Seconds(), "kiln-s")
	b.ReportMetric(c.Seconds(), "curl-s")
	b.ReportMetric(a.Seconds()/c.Seconds(), "ratio")
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
