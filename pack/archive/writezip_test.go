package archive

import (
	"context"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// zippable makes a ware of what zip finds hard, but can hold.
func zippable(t testing.TB, l *warehouse.Local, more ...pack.Entry) warehouse.Record {
	long := strings.Repeat("ü", 127)
	return build(t, l, append([]pack.Entry{
		{Path: ".", Kind: pack.KindDir, Mode: 0o751, UID: 7, GID: 8, Sec: 5},
		{Path: "plain", Kind: pack.KindFile, Mode: 0o644, Size: 3, Sec: 1 << 30},
		{Path: "new\nline", Kind: pack.KindFile, Mode: 0o600, UID: 1000, GID: 4294967294, Size: 1, Sec: 1<<31 - 1},
		{Path: "dir", Kind: pack.KindDir, Mode: 0o700, Sec: 12345},
		{Path: "dir/link", Kind: pack.KindSymlink, Link: "../nowhere-\xff", UID: 3, Sec: 1},
		{Path: "empty", Kind: pack.KindFile, Mode: 0o400, Sec: 315532800},
		{Path: "set", Kind: pack.KindFile, Mode: 0o6755, Size: 200},
		{Path: long + "/" + long, Kind: pack.KindFile, Mode: 0o444, Size: 70000, Sec: 999999999},
		{Path: `quote"`, Kind: pack.KindFile, Mode: 0o444},
	}, more...)...)
}

// TestWriteZipSecondOpinion has Info-ZIP unpack what was written.
func TestWriteZipSecondOpinion(t *testing.T) {
	if _, err := osexec.LookPath("unzip"); err != nil {
		t.Skip("unzip is not installed")
	}
	l := openLocal(t)
	rec := zippable(t, l, pack.Entry{Path: "large", Kind: pack.KindFile, Mode: 0o644, Size: 3 << 20})
	path := filepath.Join(t.TempDir(), "a.zip")
	must(t, os.WriteFile(path, written(t, l, rec.ID, Format{Zip: true}), 0o644))
	if out, err := osexec.Command("unzip", "-tqq", path).CombinedOutput(); err != nil {
		t.Errorf("test: %v: %s", err, out)
	}
	dst := filepath.Join(t.TempDir(), "x")
	t.Cleanup(func() { must(t, warehouse.RemoveTree(dst)) })
	names := []string{"plain", "dir", "empty", "large", strings.Repeat("ü", 127)}
	args := []string{"-qq", "-K", path, "-d", dst}
	if os.Geteuid() == 0 { // owners, and the bits that go with them, are root's to give
		names, args = append(names, "set"), append([]string{"-X"}, args...)
	}
	cmd := osexec.Command("unzip", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v: %s", cmd.Args, err, out)
	}
	// It gives symlinks and the root neither owner nor time, and replaces a newline.
	for _, name := range names {
		want, err := os.Lstat(filepath.Join(l.Fileset(rec), name))
		must(t, err)
		got, err := os.Lstat(filepath.Join(dst, name))
		must(t, err)
		if got.Mode() != want.Mode() || !got.ModTime().Equal(want.ModTime()) || !got.IsDir() && got.Size() != want.Size() {
			t.Errorf("%s: got %v %v %d, want %v %v %d", name, got.Mode(), got.ModTime(), got.Size(), want.Mode(), want.ModTime(), want.Size())
		}
	}
	link, err := os.Readlink(filepath.Join(dst, "dir/link"))
	if err != nil || link != "../nowhere-\xff" {
		t.Errorf("link to %q, %v", link, err)
	}
}

// TestWriteZipRefuses writes what zip cannot hold.
func TestWriteZipRefuses(t *testing.T) {
	for name, e := range map[string]pack.Entry{
		"its name is not UTF-8": {Path: "\xff", Kind: pack.KindFile},
		"its mtime 2010-01-01T00:00:00.5Z is not in whole seconds": {Path: "f", Kind: pack.KindFile, Sec: plainTime, Nsec: 5e8},
		"its mtime 1969-12-31T23:59:59Z is not in whole seconds":   {Path: "f", Kind: pack.KindFile, Sec: -1},
		"it is a named pipe or a device":                           {Path: "p", Kind: pack.KindFifo, Sec: plainTime},
		"bytes: zip cannot hold that":                              {Path: strings.Repeat(strings.Repeat("x", 250)+"/", 270) + "f", Kind: pack.KindFile, Sec: plainTime},
	} {
		l := openLocal(t)
		err := Write(context.Background(), l, build(t, l, e).ID, io.Discard, Format{Zip: true})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("want %q, got %v", name, err)
		}
	}
}
