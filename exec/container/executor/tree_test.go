package executor

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// The kernel gives up on a path with ".." in it when anything is renamed or mounted
// meanwhile, anywhere on the machine.
func TestPathsAreFoundWhileOthersRename(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a/b"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(strings.Repeat("../", 20)+strings.Repeat("a/../", 20)+"a/b", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	done := make(chan struct{})
	var renamers sync.WaitGroup
	for range 2 {
		other := t.TempDir()
		if err := os.Mkdir(other+"/0", 0o755); err != nil {
			t.Fatal(err)
		}
		renamers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					os.Rename(other+"/0", other+"/1")
					os.Rename(other+"/1", other+"/0")
				}
			}
		})
	}
	for range 20000 {
		f, err := openInRoot(root, "/link")
		if err != nil {
			t.Error(err)
			break
		}
		f.Close()
	}
	close(done)
	renamers.Wait()
}
