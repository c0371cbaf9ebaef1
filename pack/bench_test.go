package pack

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/warehouse"
)

// toolchain returns the directory of a Go toolchain: about 16,700 entries, 270 MB.
func toolchain(b *testing.B) string {
	b.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Skip("no go command: ", err)
	}
	return strings.TrimSpace(string(out))
}

// toolchainOptions leave out test data with set-id bits or devices, of which there
// are none in a release.
var toolchainOptions = Options{}

func BenchmarkScanToolchain(b *testing.B) {
	root := toolchain(b)
	b.ReportAllocs()
	for b.Loop() {
		r, err := Scan(context.Background(), root, toolchainOptions)
		must(b, err)
		b.SetBytes(r.Bytes)
	}
}

func BenchmarkScanToolchainTar(b *testing.B) {
	root := toolchain(b)
	b.ReportAllocs()
	for b.Loop() {
		r, err := Scan(context.Background(), root, Options{Packtype: Tar})
		must(b, err)
		b.SetBytes(r.Bytes)
	}
}

// BenchmarkHashEveryFile is what Scan and Adopt are compared with.
func BenchmarkHashEveryFile(b *testing.B) {
	root := toolchain(b)
	for b.Loop() {
		cmd := exec.Command("sh", "-c", "find . -type f -print0 | xargs -0 -P2 -n500 sha256sum >/dev/null")
		cmd.Dir = root
		must(b, cmd.Run())
	}
}

func BenchmarkIngestToolchain(b *testing.B) {
	root, l := toolchain(b), openLocal(b)
	for b.Loop() {
		rec, err := Ingest(context.Background(), l, root, toolchainOptions)
		must(b, err)
		b.StopTimer()
		must(b, l.Remove(rec.ID))
		b.StartTimer()
	}
}

func BenchmarkAdoptToolchain(b *testing.B) {
	root, l := toolchain(b), openLocal(b)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		staged, err := l.Stage("bench")
		must(b, err)
		out := filepath.Join(staged, "out")
		must(b, exec.Command("cp", "-R", root, out).Run())
		must(b, l.Sync())
		b.StartTimer()
		rec, err := Adopt(context.Background(), l, out, toolchainOptions)
		must(b, err)
		b.StopTimer()
		b.SetBytes(rec.Bytes)
		must(b, l.Remove(rec.ID))
		b.StartTimer()
	}
}

func BenchmarkAdoptTiny(b *testing.B) {
	l := openLocal(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		b.StopTimer()
		staged, err := l.Stage("bench")
		must(b, err)
		out := filepath.Join(staged, "out")
		must(b, os.Mkdir(out, 0o755))
		i++
		must(b, os.WriteFile(filepath.Join(out, "n"), []byte(strings.Repeat("x", i)), 0o644))
		b.StartTimer()
		_, err = Adopt(context.Background(), l, out, Options{})
		must(b, err)
	}
}

func BenchmarkCheckToolchain(b *testing.B) {
	root, l := toolchain(b), openLocal(b)
	rec, err := Ingest(context.Background(), l, root, toolchainOptions)
	must(b, err)
	benchmarkCheck(b, l, rec)
}

func BenchmarkCheckTiny(b *testing.B) {
	l := openLocal(b)
	src := b.TempDir()
	must(b, os.WriteFile(filepath.Join(src, "n"), []byte("x"), 0o644))
	rec, err := Ingest(context.Background(), l, src, Options{})
	must(b, err)
	benchmarkCheck(b, l, rec)
}

func benchmarkCheck(b *testing.B, l *warehouse.Local, rec warehouse.Record) {
	b.ReportAllocs()
	runtime.GC()
	for b.Loop() {
		must(b, Check(context.Background(), l, rec.ID))
	}
	after, err := l.Get(rec.ID)
	must(b, err)
	if after.Stamp != rec.Stamp {
		b.Error("the fileset was hashed again")
	}
}

func BenchmarkScanCached(b *testing.B) {
	root := toolchain(b)
	c, err := OpenStatCache(filepath.Join(b.TempDir(), "cache"))
	must(b, err)
	o := Options{Cache: c}
	want, err := Scan(context.Background(), root, o)
	must(b, err)
	b.ReportAllocs()
	for b.Loop() {
		got, err := Scan(context.Background(), root, o)
		must(b, err)
		if got != want {
			b.Fatalf("got %v, want %v", got, want)
		}
	}
}
