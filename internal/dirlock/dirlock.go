// Package dirlock locks directories, and files, that others remove when nobody has them
// locked.
package dirlock

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Lock opens and locks one with flock(2), as how says. The lock ends when the file is
// closed, or its process has ended, however it did. The error matches os.ErrNotExist if
// it is gone by then, also when another one lies in its place.
func Lock(path string, how int) (*os.File, error) {
	lock, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Flock(int(lock.Fd()), how)
	}
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	held, err := lock.Stat()
	if err == nil {
		var there os.FileInfo
		if there, err = os.Lstat(path); err == nil && os.SameFile(held, there) {
			return lock, nil
		}
	}
	lock.Close()
	if err == nil {
		err = os.ErrNotExist
	}
	return nil, err
}
