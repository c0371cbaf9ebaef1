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
	"golang.org/x/sys/unix"
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

// BenchmarkUnpackLarge does so with one file: of noise, which costs little to decompress,
// 4 GiB of it if KILN_BENCH_LARGE is set, and of text.
func BenchmarkUnpackLarge(b *testing.B) {
	size := "256M"
	if os.Getenv("KILN_BENCH_LARGE") != "" {
		size = "4G"
	}
	for name, command := range map[string]string{
		"noise": "head -c " + size + " /dev/urandom",
		"text":  `find "$(go env GOROOT)/src" -type f -name "*.go" -print0 | sort -z | xargs -0 cat`,
	} {
		b.Run(name, func(b *testing.B) {
			dir := b.TempDir()
			run(b, "sh", "-c", command+" >"+dir+"/large")
			benchmarkUnpack(b, tarball(b, dir, "zstd"))
		})
	}
}

func benchmarkUnpack(b *testing.B, file string) {
	l := openLocal(b)
	dir := filepath.Join(l.Dir(), "work")
	var took, cpu [2]time.Duration // ours, theirs
	timed := func(whose int, do func()) {
		start, before := time.Now(), used()
		do()
		took[whose] += time.Since(start)
		cpu[whose] += used() - before
	}
	theirs := func() {
		b.StopTimer()
		must(b, os.Mkdir(dir+"/tar", 0o755))
		timed(1, func() { run(b, "sh", "-c", "zstd -dc '"+file+"' | tar -C '"+dir+"/tar' -xf -") })
		must(b, warehouse.RemoveTree(dir+"/tar"))
		b.StartTimer()
	}
	for i := 0; b.Loop(); i++ {
		if i%2 == 0 { // who comes second finds pages that the first has freed
			theirs()
		}
		var rec warehouse.Record
		timed(0, func() {
			f, err := os.Open(file)
			must(b, err)
			defer f.Close()
			rec, err = Unpack(context.Background(), l, f, pack.BuildOptions{Name: "bench", MaxRatio: -1})
			must(b, err)
		})
		b.StopTimer()
		b.SetBytes(rec.Bytes)
		must(b, l.Remove(rec.ID))
		b.StartTimer()
		if i%2 == 1 {
			theirs()
		}
	}
	b.ReportMetric(took[0].Seconds()/took[1].Seconds(), "of-zstd-tar")
	b.ReportMetric(cpu[0].Seconds()/cpu[1].Seconds(), "of-zstd-tar-cpu")
}

// used is the processor time of this process and of those it has waited for.
func used() (sum time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil {
			sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return sum
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
