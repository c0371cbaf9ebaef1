package inside

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec"
)

// copyFileset copies the directory or file at from, which is a fileset at rest, to port:
// everything is the helper's own there, and else as it is.
func copyFileset(from, port string) error {
	if err := clear(port); err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(port); err == nil {
		port = real
	}
	var dirs []string // their modes and times are set when they are full
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := port + path[len(from):]
		switch {
		case e.IsDir():
			dirs = append(dirs, path)
			return os.Mkdir(to, 0o700)
		case e.Type().IsRegular():
			if err := copyFile(path, to); err != nil {
				return err
			}
		case e.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			if err == nil {
				err = os.Symlink(target, to)
			}
			if err != nil {
				return err
			}
		default:
			if err := copyNode(path, to); err != nil {
				return err
			}
		}
		return sameMeta(path, to)
	})
	for i := len(dirs) - 1; i >= 0 && err == nil; i-- {
		err = sameMeta(dirs[i], port+dirs[i][len(from):])
	}
	return err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in) // which has the kernel copy, or share, where it can
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	return err
}

// copyNode makes a device, a named pipe or a socket.
func copyNode(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return &os.PathError{Op: "stat", Path: from, Err: err}
	}
	if err := unix.Mknod(to, st.Mode, int(st.Rdev)); err != nil {
		return &os.PathError{Op: "make node", Path: to, Err: err}
	}
	return nil
}

// sameMeta gives to the mode and the times of from.
func sameMeta(from, to string) error {
	var st unix.Stat_t
	if err := unix.Lstat(from, &st); err != nil {
		return &os.PathError{Op: "stat", Path: from, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Fchmodat(unix.AT_FDCWD, to, st.Mode&0o7777, 0); err != nil {
			return &os.PathError{Op: "chmod", Path: to, Err: err}
		}
	}
	times := []unix.Timespec{st.Mtim, st.Mtim}
	if err := unix.UtimesNanoAt(unix.AT_FDCWD, to, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return &os.PathError{Op: "set the time of", Path: to, Err: err}
	}
	return nil
}

// markOf is another string when anything at or below a port has been written to, replaced,
// or given other metadata, as far as stat tells. Other inputs below it do not count.
func (h *helper) markOf(port string) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(port, func(path string, e fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		if err != nil {
			return err
		}
		if path != port && slices.ContainsFunc(h.Spec.Inputs, func(in exec.JobInput) bool { return in.Port == path }) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		_, err = fmt.Fprintln(sum, path, st.Mode, st.Ino, st.Size, st.Uid, st.Gid, st.Mtim, st.Ctim)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}
