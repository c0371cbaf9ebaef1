package executor

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// takeHosts opens paths of the host, with what is mounted below them, for as long as
// they can still be reached.
func takeHosts(paths [][]byte) ([]*os.File, error) {
	var taken []*os.File
	for _, path := range paths {
		fd, err := unix.OpenTree(unix.AT_FDCWD, string(path), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return nil, &setupError{"open " + string(path) + " to mount", err}
		}
		taken = append(taken, os.NewFile(uintptr(fd), string(path)))
	}
	return taken, nil
}

// mountHosts mounts what takeHosts took below dir, counted from 1, and closes it.
func mountHosts(dir string, taken []*os.File) error {
	for i, f := range taken {
		at := filepath.Join(dir, strconv.Itoa(i+1))
		info, err := f.Stat()
		if err == nil {
			err = makePoint(at, !info.IsDir())
		}
		if err == nil {
			err = unix.MoveMount(int(f.Fd()), "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH)
		}
		f.Close()
		if err != nil {
			return &setupError{"mount " + f.Name(), err}
		}
	}
	return nil
}
