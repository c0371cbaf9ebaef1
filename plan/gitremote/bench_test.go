package gitremote

import (
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// BenchmarkFetch fetches a commit that holds the Go toolchain's tree from a server on
// this machine, into an empty cache, and in turn has git clone it with depth 1.
// "ratio" is the time of the first by that of the second.
func BenchmarkFetch(b *testing.B) {
	s := newServer(b)
	dir := filepath.Join(s.root, "go")
	runGit(b, s.root, "init", "-q", "-b", "main", dir)
	runGit(b, dir, "--work-tree="+goRoot(b), "add", "-A", "-f")
	runGit(b, dir, "commit", "-q", "-m", "go")
	runGit(b, dir, "repack", "-q", "-a", "-d")
	var ours, theirs time.Duration
	for b.Loop() {
		start := time.Now()
		must(b, second(open(b, s.url+"/go", "main", options(b))))
		ours += time.Since(start)
		b.SetBytes(s.sent)
		b.StopTimer()
		start = time.Now()
		out, err := osexec.Command("git", "clone", "-q", "--bare", "--depth=1", s.url+"/go", filepath.Join(b.TempDir(), "to")).CombinedOutput()
		if err != nil {
			b.Fatalf("git clone: %v\n%s", err, out)
		}
		theirs += time.Since(start)
		b.StartTimer()
	}
	b.ReportMetric(float64(ours)/float64(theirs), "ratio")
}

func goRoot(b *testing.B) string {
	out, err := osexec.Command("go", "env", "GOROOT").Output()
	must(b, err)
	return strings.TrimSpace(string(out))
}
