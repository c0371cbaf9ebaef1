package newfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error { _, err := io.WriteString(w, s); return err }
}

func expect(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil || want[e.Name()] != string(data) {
			t.Errorf("%s: %q, %v", e.Name(), data, err)
		}
		delete(want, e.Name())
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

func TestWrite(t *testing.T) {
	d := t.TempDir()
	if err := Write(d+"/a", false, text("one")); err != nil {
		t.Fatal(err)
	}
	expect(t, d, map[string]string{"a": "one"})
	if err := Write(d+"/a", false, text("two")); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), d+"/a") {
		t.Errorf("got %v", err)
	}
	expect(t, d, map[string]string{"a": "one"})
	if err := Write(d+"/a", true, text("three")); err != nil {
		t.Error(err)
	}
	if err := Write(d+"/b", true, text("four")); err != nil {
		t.Error(err)
	}
	broken := errors.New("broken")
	if err := Write(d+"/a", true, func(w io.Writer) error { return errors.Join(text("five")(w), broken) }); !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	expect(t, d, map[string]string{"a": "three", "b": "four"})
	if err := Write(d+"/none/a", true, text("")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	// What a killed kiln has left where files need names is in nobody's way.
	if err := os.WriteFile(fmt.Sprintf("%s/.kiln-%d-0", d, os.Getpid()), []byte("left"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(d+"/a", true, text("six")); err != nil {
		t.Error(err)
	}
	expect(t, d, map[string]string{"a": "six", "b": "four", fmt.Sprintf(".kiln-%d-0", os.Getpid()): "left"})
}

// TestPlaceNamed is for file systems on which a file needs a name.
func TestPlaceNamed(t *testing.T) {
	d := t.TempDir()
	for _, overwrite := range []bool{false, false, true} {
		f, err := os.CreateTemp(d, ".kiln-")
		if err != nil {
			t.Fatal(err)
		}
		err = place(f, true, d+"/a", overwrite)
		if there := len(entries(t, d)); err == nil && there != 1 {
			t.Errorf("%d files", there)
		} else if err != nil && (err != unix.EEXIST || overwrite) {
			t.Errorf("got %v", err)
		}
		os.Remove(f.Name())
		f.Close()
	}
}

func entries(t *testing.T, dir string) []os.DirEntry {
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestFull writes more than a file system has room for.
func TestFull(t *testing.T) {
	d := t.TempDir()
	if err := unix.Mount("kiln-test", d, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("a small file system needs root: ", err)
	}
	defer unix.Unmount(d, unix.MNT_DETACH)
	err := Write(d+"/large", false, func(w io.Writer) error {
		_, err := w.Write(make([]byte, 2<<20))
		return err
	})
	if !errors.Is(err, unix.ENOSPC) || err.Error() != "write "+d+"/large: no space left on device" {
		t.Errorf("got %v", err)
	}
	if err := Write(d+"/small", false, text("fits")); err != nil {
		t.Error(err)
	}
	expect(t, d, map[string]string{"small": "fits"})
}

// TestKilled kills a process while it writes.
func TestKilled(t *testing.T) {
	if d := os.Getenv("NEWFILE_TEST_DIR"); d != "" {
		Write(d+"/a", true, func(w io.Writer) error {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return err
			}
			return syscall.Kill(os.Getpid(), syscall.SIGKILL)
		})
		t.Fatal("it lives")
	}
	d := t.TempDir()
	if f, named, err := openAside(d, 0o666); err != nil || named {
		t.Skip("this file system knows no files without a name: ", err)
	} else {
		f.Close()
	}
	if err := os.WriteFile(d+"/a", []byte("before"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := osexec.Command(os.Args[0], "-test.run=^TestKilled$")
	cmd.Env = append(os.Environ(), "NEWFILE_TEST_DIR="+d)
	if err := cmd.Run(); cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("got %v", err)
	}
	expect(t, d, map[string]string{"a": "before"})
}

// TestNamed puts a file in place as on a file system whose files all have names.
func TestNamed(t *testing.T) {
	d := t.TempDir()
	defer unix.Umask(unix.Umask(0o027))
	for i, overwrite := range []bool{false, true, false} {
		f, err := createAside(d, 0o666)
		must(t, err)
		err = place(f, true, d+"/a", overwrite)
		f.Close()
		if i < 2 {
			must(t, err)
			continue
		}
		if !errors.Is(err, fs.ErrExist) {
			t.Errorf("over what is there: %v", err)
		}
		must(t, os.Remove(f.Name()))
	}
	info, err := os.Stat(d + "/a")
	must(t, err)
	if info.Mode() != 0o640 {
		t.Errorf("mode %v", info.Mode())
	}
	if left, _ := os.ReadDir(d); len(left) != 1 {
		t.Errorf("left %v", left)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
