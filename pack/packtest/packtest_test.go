package packtest

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/archive"
	"github.com/kilnbuild/kiln/warehouse"
)

func TestTree(t *testing.T) { Run(t, tarball(pack.Tree)) }

func TestTar(t *testing.T) { Run(t, tarball(pack.Tar)) }

// TestCompressed tests tar archives as they come: packed by the tools themselves.
func TestCompressed(t *testing.T) {
	for _, tool := range []string{"gzip", "bzip2", "xz", "zstd"} {
		t.Run(tool, func(t *testing.T) {
			p := tarball(pack.Tree)
			p.Encode = func(t testing.TB, dst string, entries ...Entry) {
				encodeTar(t, dst+".tar", entries...)
				run(t, "sh", "-c", tool+` -c "$0" > "$1"`, dst+".tar", dst)
			}
			p.Checked, p.NoEnd = true, nil
			Hostile(t, p)
		})
	}
}

// tarball is a packtype whose packed form is what GNU tar makes.
func tarball(packtype string) Packtype {
	return Packtype{
		Packtype: packtype,
		Pack: func(t testing.TB, dir, dst string) {
			run(t, "tar", "--format=posix", "--sparse", "--xattrs", "--pax-option=delete=atime,delete=ctime", "-C", dir, "-cf", dst, ".")
		},
		Encode: encodeTar,
		Tool: func(src, dst string) error {
			return tool(dst, "tar", "--no-same-owner", "-C", dst, "-xpf", src)
		},
		Unpack: unpack,
	}
}

func encodeTar(t testing.TB, dst string, entries ...Entry) {
	f, err := os.Create(dst)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for _, e := range entries {
		e.Format = tar.FormatPAX
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatalf("%q: %v", e.Name, err)
		}
		if _, err := io.WriteString(w, e.Content); err != nil {
			t.Fatalf("%q: %v", e.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// unpack reads a file that holds an archive.
func unpack(ctx context.Context, l *warehouse.Local, src string, o pack.BuildOptions) (warehouse.Record, error) {
	f, err := os.Open(src)
	if err != nil {
		return warehouse.Record{}, err
	}
	defer f.Close()
	return archive.Unpack(ctx, l, f, o)
}

// tool runs a command that fills the new directory dst.
func tool(dst, name string, args ...string) error {
	if err := os.Mkdir(dst, 0o755); err != nil {
		return err
	}
	cmd := osexec.Command(name, args...)
	cmd.Dir, cmd.Env = dst, append(os.Environ(), "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%q", name, err, out)
	}
	return os.Chmod(dst, 0o755)
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if _, err := osexec.LookPath(name); err != nil {
		t.Skip(err)
	}
	if out, err := osexec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// TestMillions unpacks as many entries as may be, and then one more: when heavy, more
// than the default allows.
func TestMillions(t *testing.T) {
	n := 5_000
	if os.Getenv("KILN_TEST_HEAVY") != "" {
		n = 10_000_000
	}
	if !inChild(t, "million", nil) {
		return
	}
	l := Local(t, "")
	_, err := archive.Unpack(context.Background(), l, tarOfEmptyFiles(n), pack.BuildOptions{Name: "millions.tar", MaxEntries: int64(n)})
	// Before the last thousand since directories count too.
	if err == nil || !strings.Contains(err.Error(), "allowed") || !strings.Contains(err.Error(), "millions.tar") {
		t.Errorf("got %v", err)
	}
	t.Logf("%d entries: %d MiB at most", n, peakRSS(t)>>20)
	NothingLeft(t, l)
}
