// Package newfile writes files that are there whole or not at all.
package newfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Write makes the file at path, with the mode that the umask leaves of 0666, of what
// write writes. Until all of it is on disk nothing is at path, or what was there
// before: that is replaced with overwrite, and is an error matching fs.ErrExist
// without. Where the file system can, the file has no name until then, so that not
// even a killed process leaves anything; elsewhere it is called .kiln-SOMETHING.
func Write(path string, overwrite bool, write func(io.Writer) error) error {
	return writeMode(path, 0o666, overwrite, write)
}

// WritePrivate is Write, overwriting, of a file that only its owner may read.
func WritePrivate(path string, write func(io.Writer) error) error {
	return writeMode(path, 0o600, true, write)
}

func writeMode(path string, mode os.FileMode, overwrite bool, write func(io.Writer) error) error {
	path = filepath.Clean(path)
	f, named, err := openAside(filepath.Dir(path), mode)
	if err != nil {
		return err
	}
	err = fill(f, write)
	if err == nil {
		err = place(f, named, path, overwrite)
	}
	if err != nil && named {
		_ = os.Remove(f.Name()) // an error is told already
	}
	if err == unix.EEXIST {
		err = &fs.PathError{Op: "write", Path: path, Err: err}
	}
	var at *fs.PathError
	if errors.As(err, &at) && at.Path == f.Name() {
		at.Path = path // where the person looks for it
	}
	return errors.Join(err, f.Close())
}

func fill(f *os.File, write func(io.Writer) error) error {
	buf := bufio.NewWriterSize(f, 256<<10)
	if err := write(buf); err != nil {
		return err
	}
	if err := buf.Flush(); err != nil {
		return err
	}
	return f.Sync()
}

// place gives f its name.
func place(f *os.File, named bool, path string, overwrite bool) error {
	if named && overwrite {
		return os.Rename(f.Name(), path)
	}
	if named {
		return RenameNew(f.Name(), path)
	}
	err := link(f, path)
	if err != unix.EEXIST || !overwrite {
		return err
	}
	// What has a name can replace; linkat(2) cannot.
	for i := range 1000 {
		aside := filepath.Join(filepath.Dir(path), fmt.Sprintf(".kiln-%d-%d", os.Getpid(), i))
		if err = link(f, aside); err == unix.EEXIST {
			continue
		}
		if err == nil {
			if err = os.Rename(aside, path); err != nil {
				err = errors.Join(err, os.Remove(aside))
			}
		}
		return err
	}
	return err
}

func link(f *os.File, path string) error {
	return unix.Linkat(unix.AT_FDCWD, procPath(f), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
}

func procPath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

// openAside opens a new file on the file system of dir, and reports whether it has a
// name.
func openAside(dir string, mode os.FileMode) (f *os.File, named bool, err error) {
	f, err = os.OpenFile(dir, os.O_WRONLY|unix.O_TMPFILE, mode)
	if err == nil {
		if _, err := os.Lstat(procPath(f)); err == nil {
			return f, false, nil
		}
		f.Close() // without /proc it cannot be given a name
	}
	f, err = createAside(dir, mode)
	return f, true, err
}

// createAside creates a file with a name that nobody uses. It is not os.CreateTemp,
// whose files have mode 0600: here the kernel applies the umask, which a process can
// only read by changing it under everybody.
func createAside(dir string, mode os.FileMode) (f *os.File, err error) {
	for range 1000 {
		name := filepath.Join(dir, fmt.Sprintf(".kiln-%08x", rand.Uint32()))
		f, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	return f, err
}

// RenameNew renames from to a path at which there must be nothing; else the error
// matches fs.ErrExist.
func RenameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err != unix.EINVAL && err != unix.ENOSYS {
		return err
	}
	// This file system knows no flags.
	if _, err := os.Lstat(to); err == nil {
		return unix.EEXIST
	}
	return os.Rename(from, to)
}
