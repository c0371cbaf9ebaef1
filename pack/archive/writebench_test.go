package archive

import (
	"context"
	"io"
	osexec "os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/pack"
)

// BenchmarkWrite writes a Go toolchain as archives, and has GNU tar and the usual
// compressors do the same: 16,700 entries, 230 MB.
func BenchmarkWrite(b *testing.B) {
	l := openLocal(b)
	root, err := osexec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		b.Skip("no go command: ", err)
	}
	rec, err := pack.Ingest(context.Background(), l, strings.TrimSpace(string(root)), pack.Options{})
	must(b, err)
	for _, bench := range []struct {
		name string
		Format
		peer string // of bash
	}{
		{"tar", Format{}, "tar -c ."},
		{"tar.zst", Format{Compression: Zstd}, "tar -c . | zstd -q -3 -T2"},
		{"tar.gz", Format{Compression: Gzip}, "tar -c . | gzip -1"},
		{"zip", Format{Zip: true}, "zip -qr1 - ."},
	} {
		b.Run(bench.name+"/kiln", func(b *testing.B) {
			b.SetBytes(rec.Bytes)
			b.ReportAllocs()
			before := cpuSeconds()
			for b.Loop() {
				must(b, Write(context.Background(), l, rec.ID, io.Discard, bench.Format))
			}
			b.ReportMetric((cpuSeconds()-before)/float64(b.N), "cpu-s/op")
		})
		b.Run(bench.name+"/peer", func(b *testing.B) {
			b.SetBytes(rec.Bytes)
			before := cpuSeconds()
			for b.Loop() {
				cmd := osexec.Command("bash", "-o", "pipefail", "-c", bench.peer+" | cat >/dev/null")
				cmd.Dir = l.Fileset(rec)
				if out, err := cmd.CombinedOutput(); err != nil {
					b.Skipf("%s: %v: %s", bench.peer, err, out)
				}
			}
			b.ReportMetric((cpuSeconds()-before)/float64(b.N), "cpu-s/op")
		})
	}
}

// cpuSeconds is what this process and those it waited for have used: on a machine
// that does other things too, it says more than the time that went by.
func cpuSeconds() float64 {
	var total int64
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var r unix.Rusage
		if unix.Getrusage(who, &r) == nil {
			total += r.Utime.Nano() + r.Stime.Nano()
		}
	}
	return float64(total) / 1e9
}
