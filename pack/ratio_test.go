package pack

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// versus runs two things in turns, and reports how much of theirs ours takes: on a busy
// machine a ratio of times taken together tells more than either time.
func versus(b *testing.B, unit string, ours, theirs func()) {
	theirs() // warms the page cache for both
	var a, c time.Duration
	for b.Loop() {
		start := time.Now()
		ours()
		a += time.Since(start)
		b.StopTimer()
		start = time.Now()
		theirs()
		c += time.Since(start)
		b.StartTimer()
	}
	b.ReportMetric(a.Seconds()/c.Seconds(), unit)
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
		versus(b, "of-full-pack", func() {
			i++
			b.StopTimer()
			must(b, os.WriteFile(dir+"/VERSION", []byte(strings.Repeat("x", i)), 0o644))
			b.StartTimer()
			scanAll(b, dir, Options{Cache: c})()
		}, scanAll(b, dir, Options{}))
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
