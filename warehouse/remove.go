package warehouse

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// removeDepth is how many levels RemoveTree descends, holding a directory open at
// each, before it moves what is below to the top.
const removeDepth = 64

// RemoveTree deletes path and everything below it, also read-only directories and
// trees deeper than a path can name. It follows no symlink. Nothing at path is
// no error.
func RemoveTree(path string) error {
	parent, err := unix.Open(filepath.Dir(path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return pathError("remove", path, err)
	}
	defer unix.Close(parent)
	r := remover{top: parent, queue: []string{filepath.Base(path)}}
	for len(r.queue) > 0 {
		name := r.queue[len(r.queue)-1]
		r.queue = r.queue[:len(r.queue)-1]
		if err := r.remove(parent, name, 0); err != nil {
			return fmt.Errorf("remove %s: %w", path, err)
		}
	}
	return nil
}

type remover struct {
	top   int
	moved int
	queue []string // names in top
}

func (r *remover) remove(parent int, name string, depth int) error {
	err := retry(func() error { return unix.Unlinkat(parent, name, 0) })
	switch err {
	case nil, unix.ENOENT:
		return nil
	case unix.EISDIR, unix.EPERM: // EPERM: what POSIX wants of a directory
	default:
		return pathError("unlink", name, err)
	}
	if err := r.empty(parent, name, depth); err != nil {
		return err
	}
	if err := unix.Unlinkat(parent, name, unix.AT_REMOVEDIR); err != unix.ENOENT {
		return pathError("rmdir", name, err)
	}
	return nil
}

func (r *remover) empty(parent int, name string, depth int) error {
	fd, err := openDir(parent, name)
	if err == unix.EACCES {
		// It is a directory, or open would have said so.
		if err := unix.Fchmodat(parent, name, 0o700, 0); err != nil {
			return pathError("chmod", name, err)
		}
		fd, err = openDir(parent, name)
	}
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return pathError("open", name, err)
	}
	dir := os.NewFile(uintptr(fd), name)
	defer dir.Close()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return pathError("stat", name, err)
	}
	if st.Mode&0o700 != 0o700 {
		// As root this may fail for want of ownership and not matter.
		_ = unix.Fchmod(fd, 0o700)
	}
	names, err := dir.Readdirnames(-1)
	for _, child := range names {
		if err := r.removeChild(fd, child, depth+1); err != nil {
			return err
		}
	}
	return err
}

func (r *remover) removeChild(parent int, name string, depth int) error {
	if depth < removeDepth {
		return r.remove(parent, name, depth)
	}
	err := unix.Unlinkat(parent, name, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	r.moved++
	to := fmt.Sprintf(".%d-%d-%d", os.Getpid(), parent, r.moved)
	_ = unix.Fchmodat(parent, name, 0o700, 0)
	if err := unix.Renameat2(parent, name, r.top, to, unix.RENAME_NOREPLACE); err != nil {
		return pathError("rename", name, err)
	}
	r.queue = append(r.queue, to)
	return nil
}

func openDir(parent int, name string) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}
