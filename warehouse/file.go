package warehouse

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// noFile reports whether err, of readSmall, is that what is there is no file. One that
// cannot be read is something else: another user or another day may read it.
func noFile(err error) bool {
	return errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO)
}

// removeAny removes what should be a file, also when it is a directory.
func removeAny(path string) error {
	err := os.Remove(path)
	if err != nil && isDir(path) {
		return RemoveTree(path)
	}
	return err
}

func isDir(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}

// readSmall reads a file of a few hundred bytes in fewer system calls than
// os.ReadFile: plans look at ten thousand of them.
func readSmall(path string) ([]byte, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, pathError("open", path, err)
	}
	defer unix.Close(fd)
	for data := make([]byte, 0, 1024); ; {
		if len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
		n, err := unix.Read(fd, data[len(data):cap(data)])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, pathError("read", path, err)
		}
		if n == 0 {
			return data, nil
		}
		data = data[:len(data)+n]
	}
}

// writeAside writes data to tmp and renames it to path, whose directory it makes
// if need be.
func writeAside(tmp, path string, data []byte) error {
	if err := writeSmall(tmp, data); err != nil {
		_ = os.Remove(tmp) // which may not be there
		return pathError("write", tmp, err)
	}
	err := unix.Rename(tmp, path)
	if err == unix.ENOENT {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return errors.Join(err, os.Remove(tmp))
		}
		err = unix.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(pathError("rename", path, err), os.Remove(tmp))
	}
	return nil
}

// writeSmall is os.WriteFile without what it does for files that may block.
func writeSmall(path string, data []byte) error {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC, 0o644)
		return err
	})
	if err != nil {
		return err
	}
	for len(data) > 0 && (err == nil || err == unix.EINTR) {
		var n int
		if n, err = unix.Write(fd, data); err == nil {
			data = data[n:]
		}
	}
	// close(2) tells of a full disk on file systems that write late, such as NFS.
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	return err
}

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}
