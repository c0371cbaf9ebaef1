package packtest

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/kilnbuild/kiln/pack"
)

// maxRSS is how much memory anything may take for one file of any size, bytes.
const maxRSS = 64 << 20

// large is the size of the file that is too large for memory.
const large = 8 << 30

// heavy packs and unpacks a file of 8 GiB, most of it a hole, and looks how much
// memory each took.
func heavy(t *testing.T, p Packtype) {
	if os.Getenv("KILN_TEST_HEAVY") == "" {
		t.Skip("8 GiB take minutes: set KILN_TEST_HEAVY=1")
	}
	for name, way := range p.ways() {
		test := t.Name()
		if way := os.Getenv("KILN_PACKTEST_WAY"); way != "" && way != name {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if os.Getenv("KILN_PACKTEST_CHILD") == "" {
				child(t, test+"/"+name, "heavy", func(cmd *osexec.Cmd) { cmd.Env = append(cmd.Env, "KILN_PACKTEST_WAY="+name) })
				return
			}
			l := Local(t, "")
			file := File("big", strings.Repeat("some content\n", 1<<16))
			file.Size = large
			rec, err := way(t, context.Background(), l, p.options(t, ""), File("small", "x"), file)
			must(t, err)
			rss := peakRSS(t)
			t.Logf("%s, %d bytes: %d MiB at most", rec.ID, rec.Bytes, rss>>20)
			if rss > maxRSS || rec.Bytes != large+1 {
				t.Errorf("%d bytes took %d MiB, more than %d", rec.Bytes, rss>>20, maxRSS>>20)
			}
			must(t, pack.Check(context.Background(), l, rec.ID))
		})
	}
}

// peakRSS is the most memory that this process has had at once. It is not what
// getrusage(2) says: that begins with the memory of the process that started it.
func peakRSS(t testing.TB) int64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	must(t, err)
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	kib, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	must(t, err)
	var usage syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	t.Logf("VmHWM %d MiB, getrusage %d MiB", kib>>10, usage.Maxrss>>10)
	return kib << 10
}

// tarOfEmptyFiles returns a tar stream of so many empty files, a thousand to a
// directory, without keeping it.
func tarOfEmptyFiles(n int) io.Reader {
	r, w := io.Pipe()
	go func() {
		tw := tar.NewWriter(w)
		var err error
		for i := 0; i < n && err == nil; i++ {
			err = tw.WriteHeader(&tar.Header{Name: fmt.Sprintf("%d/%d", i/1000, i%1000), Typeflag: tar.TypeReg, Mode: 0o644})
		}
		if err == nil {
			err = tw.Close()
		}
		w.CloseWithError(err)
	}()
	return r
}
