package oci

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/oci/ocitest"
	"github.com/kilnbuild/kiln/warehouse"
)

// BenchmarkUnpack unpacks an image of a Go toolchain in turns with umoci, and says how
// much longer it takes. Six layers: the parts of the toolchain, some of its sources
// again, and a whiteout of its tests.
func BenchmarkUnpack(b *testing.B) {
	root := strings.TrimSpace(ocitest.Run(b, "go", "env", "GOROOT"))
	layout := filepath.Join(b.TempDir(), "layout")
	image := layout + ":go"
	ocitest.Run(b, "umoci", "init", "--layout", layout)
	ocitest.Run(b, "umoci", "new", "--image", image)
	for _, part := range [][2]string{{"lib", "/go/lib"}, {"pkg", "/go/pkg"}, {"src", "/go/src"}, {"bin", "/go/bin"}, {"src/cmd", "/go/src/cmd"}} {
		ocitest.Run(b, "umoci", "insert", "--rootless", "--image", image, filepath.Join(root, part[0]), part[1])
	}
	ocitest.Run(b, "umoci", "insert", "--rootless", "--image", image, "--whiteout", "/go/src/runtime")
	w := openLocal(b)
	l := &ocitest.Layout{Dir: layout}
	bundle := filepath.Join(w.Dir(), "work", "bundle")
	var ours, theirs time.Duration
	for b.Loop() {
		start := time.Now()
		rec, _, err := unpack(l, w, "go", HostPlatform(), pack.BuildOptions{Name: "bench"})
		must(b, err)
		ours += time.Since(start)
		b.StopTimer()
		b.SetBytes(rec.Bytes)
		start = time.Now()
		ocitest.Run(b, "umoci", "unpack", "--rootless", "--image", image, bundle)
		theirs += time.Since(start)
		if got, err := pack.Scan(b.Context(), bundle+"/rootfs", pack.Options{Filters: DefaultFilters()}); err != nil || got.ID != rec.ID {
			b.Fatalf("umoci unpacks %s, kiln %s, %v", got.ID, rec.ID, err)
		}
		must(b, w.Remove(rec.ID))
		must(b, warehouse.RemoveTree(bundle))
		b.StartTimer()
	}
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "of-umoci")
}
