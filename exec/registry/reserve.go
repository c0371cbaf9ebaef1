package registry

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/internal/newfile"
)

// reserveFile holds room on the disk for how a run ends: its own log may be what fills
// the rest.
const reserveFile = "reserve"

// reserved is room for the record of a run with a long environment, and its exit code.
const reserved = 256 << 10

// reserve takes the room. Where a file system does not know how, there is none.
func reserve(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, reserveFile), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, reserved)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		err = nil
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return &os.PathError{Op: "reserve room in", Path: dir, Err: err}
	}
	return nil
}

// writeFile writes a file of a run, at the cost of the room reserved if there is no other.
func writeFile(dir, name string, content func(io.Writer) error) error {
	path := filepath.Join(dir, name)
	err := newfile.WritePrivate(path, content)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		if os.Remove(filepath.Join(dir, reserveFile)) == nil {
			err = newfile.WritePrivate(path, content)
		}
	}
	return err
}

// Sweep removes directories that a kiln left which was killed while it entered or removed
// a run: they have no record, and nobody holds them.
func (g *Registry) Sweep() error {
	ids, err := g.ids()
	errs := []error{err}
	for _, id := range ids {
		if _, err := os.Stat(g.path(id, RunFile)); !errors.Is(err, os.ErrNotExist) {
			continue
		}
		if info, err := os.Stat(g.Dir(id)); err != nil || time.Since(info.ModTime()) < enterGrace || locked(g.path(id, ownerFile)) {
			continue
		}
		errs = append(errs, os.RemoveAll(g.Dir(id)))
	}
	return errors.Join(errs...)
}

// enterGrace is longer than a run's directory is there before it is held.
const enterGrace = time.Minute
