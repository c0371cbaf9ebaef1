package git

import (
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/warehouse"
)

// BenchmarkCheckout makes a ware of a commit that holds the Go toolchain's tree (or
// that of $KILN_BENCH_REPO's HEAD), packed, and in turn has git archive and tar unpack
// it. "ratio" is the time of the first by that of the second.
func BenchmarkCheckout(b *testing.B) {
	dir := os.Getenv("KILN_BENCH_REPO")
	if dir == "" {
		dir = b.TempDir()
		runGit(b, dir, "init", "-q", "-b", "main")
		runGit(b, dir, "--work-tree="+goRoot(b), "add", "-A", "-f")
		runGit(b, dir, "commit", "-q", "-m", "go")
		runGit(b, dir, "repack", "-q", "-a", "-d")
	}
	commit := runGit(b, dir, "rev-parse", "HEAD")
	var ours, theirs time.Duration
	for b.Loop() {
		start := time.Now()
		r, err := Open(dir)
		must(b, err)
		id, err := r.Resolve(commit)
		must(b, err)
		l, err := warehouse.OpenLocal(b.TempDir())
		must(b, err)
		rec, err := r.Checkout(b.Context(), l, id, Options{Name: dir})
		must(b, err)
		r.Close()
		ours += time.Since(start)
		b.SetBytes(rec.Bytes)
		b.StopTimer()
		must(b, warehouse.RemoveTree(l.Dir()))
		l.Close()
		to := filepath.Join(b.TempDir(), "to")
		must(b, os.Mkdir(to, 0o755))
		start = time.Now()
		out, err := osexec.Command("sh", "-c", `git -C "$1" archive "$2" | tar x -C "$3"`, "sh", dir, commit, to).CombinedOutput()
		if err != nil {
			b.Fatalf("git archive: %v\n%s", err, out)
		}
		theirs += time.Since(start)
		must(b, os.RemoveAll(to))
		b.StartTimer()
	}
	b.ReportMetric(float64(ours)/float64(theirs), "ratio")
	b.ReportMetric(theirs.Seconds()/float64(b.N), "archive-s/op")
}

func goRoot(b *testing.B) string {
	out, err := osexec.Command("go", "env", "GOROOT").Output()
	must(b, err)
	return strings.TrimSpace(string(out))
}
