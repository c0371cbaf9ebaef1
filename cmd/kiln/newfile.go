package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// writeNewFile makes the file at path of what write writes. Until all of it is on
// disk nothing is at path, or what was there before: replaced with overwrite, else an
// error. Where the file system can, the file has no name until then, so that not even
// a killed process leaves anything.
func writeNewFile(path string, overwrite bool, write func(io.Writer) error) error {
	path = filepath.Clean(path)
	f, err := openAside(filepath.Dir(path))
	if err != nil {
		return err
	}
	aside := f.named
	defer func() {
		if aside != "" {
			_ = os.Remove(aside) // of which an error is told already
		}
	}()
	buf := bufio.NewWriterSize(f, 256<<10)
	err = write(buf)
	if err == nil {
		err = buf.Flush()
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil && aside == "" && !overwrite {
		// linkat(2): how a file without a name gets one.
		err = unix.Linkat(unix.AT_FDCWD, f.procPath(), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
	} else if err == nil {
		if aside == "" {
			aside = filepath.Join(filepath.Dir(path), fmt.Sprintf(".kiln-export-%d", os.Getpid()))
			err = unix.Linkat(unix.AT_FDCWD, f.procPath(), unix.AT_FDCWD, aside, unix.AT_SYMLINK_FOLLOW)
		}
		if err == nil {
			err = rename(aside, path, overwrite)
		}
		if err == nil {
			aside = ""
		}
	}
	if err == unix.EEXIST {
		err = &fs.PathError{Op: "write", Path: path, Err: err}
	}
	return plainPath(errors.Join(err, f.Close()), f.Name(), path)
}

// An asideFile is a file that is not where it is to be yet.
type asideFile struct {
	*os.File
	named string // its path; "" if it has none
}

func (f asideFile) procPath() string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }

func openAside(dir string) (asideFile, error) {
	f, err := os.OpenFile(dir, os.O_WRONLY|unix.O_TMPFILE, 0o666)
	if err == nil {
		if _, err := os.Lstat(asideFile{File: f}.procPath()); err == nil {
			return asideFile{File: f}, nil
		}
		f.Close() // no /proc, no name
	}
	f, err = os.CreateTemp(dir, ".kiln-export-")
	if err != nil {
		return asideFile{}, err
	}
	umask := unix.Umask(0)
	unix.Umask(umask)
	return asideFile{f, f.Name()}, f.Chmod(0o666 &^ os.FileMode(umask))
}

func rename(from, to string, overwrite bool) error {
	if overwrite {
		return os.Rename(from, to)
	}
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

// plainPath makes an error about the file aside one about the file it was to become.
func plainPath(err error, aside, path string) error {
	var at *fs.PathError
	if errors.As(err, &at) && at.Path == aside {
		at.Path = path
	}
	return err
}
