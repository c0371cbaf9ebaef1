package warehouse

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/internal/dirlock"
)

// A stageDir is where one Local stages. It is locked while the Local is open: process
// ids would not tell who is alive, since packers run in pid namespaces of their own.
type stageDir struct {
	path string
	lock *os.File
}

// makeStageDir makes a stage directory in dir, and begins to remove those of Locals
// that were not closed.
func makeStageDir(dir string) (*stageDir, error) {
	go sweep(dir)
	for {
		d := &stageDir{path: filepath.Join(dir, salt())}
		if err := os.Mkdir(d.path, 0o700); err != nil {
			return nil, err
		}
		var err error
		if d.lock, err = dirlock.Lock(d.path, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			return d, nil
		}
		// A sweep can catch it before it is locked; then it is made again.
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, err
		}
	}
}

func (d *stageDir) close() {
	// What is still in it is for the next sweep.
	_ = os.Remove(d.path)
	d.lock.Close()
}

// sweep removes the stage directories in dir that nobody holds.
func sweep(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		lock, err := dirlock.Lock(path, unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			continue
		}
		// What cannot be removed now is tried again next time.
		_ = RemoveTree(path)
		lock.Close()
	}
}

func salt() string {
	var b [6]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
