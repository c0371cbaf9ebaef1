package plan

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// newDownloadFile makes a file in dir for bytes being fetched. The process holds a
// lock on it as long as it is open, which tells it from what a killed one left.
func newDownloadFile(dir string) (*os.File, error) {
	for {
		f, err := os.CreateTemp(dir, "download-*")
		if err != nil {
			return nil, err
		}
		// A sweep that came between the two lines above has removed the file, or
		// is about to.
		if err := tryLock(f); err != unix.EWOULDBLOCK && isAt(f, f.Name()) {
			return f, nil // also where the file system has no locks, and no sweeps
		}
		f.Close()
	}
}

// sweepDownloads removes the files that killed processes left in dir.
func sweepDownloads(dir string) {
	names, _ := filepath.Glob(filepath.Join(dir, "download-*"))
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		if tryLock(f) == nil {
			os.Remove(name)
		}
		f.Close()
	}
}

func tryLock(f *os.File) error {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

func isAt(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(open, there)
}
