package pack

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// versus runs two things in turns, and reports how much of theirs ours takes: on a busy
// machine a ratio of times taken together tells more than either time, and one of what
// the processors did for them, user and system, more than that.
func versus(b *testing.B, unit string, ours, theirs func(), before ...func()) {
	theirs() // warms the page cache for both
	var a, c, aCPU, cCPU time.Duration
	for b.Loop() {
		b.StopTimer()
		for _, f := range before {
			f()
		}
		b.StartTimer()
		start, cpu := time.Now(), used()
		ours()
		a, aCPU = a+time.Since(start), aCPU+used()-cpu
		b.StopTimer()
		start, cpu = time.Now(), used()
		theirs()
		c, cCPU = c+time.Since(start), cCPU+used()-cpu
		b.StartTimer()
	}
	b.ReportMetric(a.Seconds()/c.Seconds(), unit)
	b.ReportMetric(aCPU.Seconds()/cCPU.Seconds(), unit+"-cpu")
	b.ReportMetric(1000*aCPU.Seconds()/float64(b.N), "cpu-ms/op")
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

// hashAll hashes every file below dir, two at a time.
func hashAll(b *testing.B, dir string) func() {
	return func() {
		cmd := exec.Command("sh", "-c", "find . -type f -print0 | xargs -0 -P2 -n32 sha256sum >/dev/null")
		cmd.Dir = dir
		must(b, cmd.Run())
	}
}

func scanAll(b *testing.B, dir string, o Options) func() {
	return func() {
		r, err := Scan(context.Background(), dir, o)
		must(b, err)
		b.SetBytes(r.Bytes)
	}
}

// BenchmarkPackRatio packs a Go toolchain, of 16,700 entries, and one large file, of
// 4 GiB if KILN_BENCH_LARGE is set, against sha256sum of every file.
func BenchmarkPackRatio(b *testing.B) {
	b.Run("tree", func(b *testing.B) {
		dir := toolchain(b)
		versus(b, "of-sha256sum", scanAll(b, dir, Options{}), hashAll(b, dir))
	})
	b.Run("tar", func(b *testing.B) {
		dir := toolchain(b)
		versus(b, "of-sha256sum", scanAll(b, dir, Options{Packtype: Tar}), hashAll(b, dir))
	})
	b.Run("one changed", func(b *testing.B) {
		dir := filepath.Join(b.TempDir(), "go")
		must(b, exec.Command("cp", "-R", toolchain(b), dir).Run())
		c, err := OpenStatCache(filepath.Join(b.TempDir(), "cache"))
		must(b, err)
		c.now = func() time.Time { return time.Now().Add(time.Hour) } // nothing has changed just now
		scanAll(b, dir, Options{Cache: c})()
		i := 0
		versus(b, "of-full-pack", scanAll(b, dir, Options{Cache: c}), scanAll(b, dir, Options{}), func() {
			i++
			must(b, os.WriteFile(dir+"/VERSION", []byte(strings.Repeat("x", i)), 0o644))
		})
	})
	b.Run("large", func(b *testing.B) {
		dir, size := b.TempDir(), "256M"
		if os.Getenv("KILN_BENCH_LARGE") != "" {
			size = "4G"
		}
		must(b, exec.Command("sh", "-c", "head -c "+size+" /dev/urandom >"+dir+"/large").Run())
		versus(b, "of-sha256sum", scanAll(b, dir, Options{}), hashAll(b, dir))
	})
}
