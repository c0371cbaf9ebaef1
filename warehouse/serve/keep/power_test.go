package keep

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/internal/testenv"
)

// TestPowerCut has a store on a file system of its own, and looks at what its disk has
// while things are handed in, as if the power had gone then: what has a name is whole,
// and values that were acknowledged are there, and what they rest on.
func TestPowerCut(t *testing.T) {
	disk, dir := mountNew(t)
	s := open(t, filepath.Join(dir, "serve"), 32<<20)
	value := func(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "value %d ", i), 500) }
	for cut := range 5 {
		var kept sync.WaitGroup
		for client := range 8 {
			kept.Go(func() {
				n := cut*8 + client
				sum, err := put(s, bytes.Repeat(fmt.Appendf(nil, "object %d ", n), 20_000))
				if err == nil {
					err = s.SetValue(Actions, sum, value(n))
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		kept.Wait()
		after := readDisk(t, disk)
		for n := range cut*8 + 8 {
			object := bytes.Repeat(fmt.Appendf(nil, "object %d ", n), 20_000)
			sum := Sum(sha256.Sum256(object))
			if got := content(t, after, sum); !bytes.Equal(got, object) {
				t.Errorf("object %d is not what it was: %d bytes", n, len(got))
			}
			if got, err := after.Value(Actions, sum); err != nil || !bytes.Equal(got, value(n)) {
				t.Errorf("value %d has %d bytes, %v", n, len(got), err)
			}
		}
		after.Close()
	}
}

// mountNew makes a file system in a file and mounts it.
func mountNew(t *testing.T) (disk, dir string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root mounts a disk")
	}
	disk = filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 64<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := osexec.Command(testenv.Tool(t, "mkfs.ext4", "apt-get install e2fsprogs"), "-q", disk).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return disk, mount(t, disk)
}

func mount(t *testing.T, disk string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if out, err := osexec.Command("mount", "-o", "loop", disk, dir).CombinedOutput(); err != nil {
		testenv.Missing(t, "loop", "this machine mounts no file: "+strings.TrimSpace(string(out)))
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Error(err)
		}
	})
	return dir
}

// readDisk opens the store on what a disk has now, with nothing of what waits in memory to
// be written to it.
func readDisk(t *testing.T, disk string) *Store {
	t.Helper()
	data, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return open(t, filepath.Join(mount(t, path), "serve"), 32<<20)
}
