package archive

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// BenchmarkUnpackToolchain unpacks a Go toolchain in turns with zstd and GNU tar, and
// says how much longer it takes: it hashes and keeps what they only write.
func BenchmarkUnpackToolchain(b *testing.B) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Skip("no go command: ", err)
	}
	benchmarkUnpack(b, tarball(b, strings.TrimSpace(string(out)), "zstd"))
}

// BenchmarkUnpackLarge does so with one file, of 4 GiB if KILN_BENCH_LARGE is set.
func BenchmarkUnpackLarge(b *testing.B) {
	dir := b.TempDir()
	size := "256M"
	if os.Getenv("KILN_BENCH_LARGE") != "" {
		size = "4G"
	}
	run(b, "sh", "-c", "head -c "+size+" /dev/urandom >"+dir+"/large")
	benchmarkUnpack(b, tarball(b, dir, "zstd"))
}

func benchmarkUnpack(b *testing.B, file string) {
	l := openLocal(b)
	dir := filepath.Join(l.Dir(), "work")
	var ours, theirs time.Duration
	for b.Loop() {
		start := time.Now()
		f, err := os.Open(file)
		must(b, err)
		rec, err := Unpack(context.Background(), l, f, pack.BuildOptions{Name: "bench", MaxRatio: -1})
		must(b, err)
		ours += time.Since(start)
		b.StopTimer()
		b.SetBytes(rec.Bytes)
		f.Close()
		must(b, l.Remove(rec.ID))
		must(b, os.Mkdir(dir+"/tar", 0o755))
		start = time.Now()
		run(b, "sh", "-c", "zstd -dc '"+file+"' | tar -C '"+dir+"/tar' -xf -")
		theirs += time.Since(start)
		must(b, warehouse.RemoveTree(dir+"/tar"))
		b.StartTimer()
	}
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "of-zstd-tar")
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skip(name + " is not installed")
	}
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}
