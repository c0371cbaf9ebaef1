package pack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/warehouse"
	"golang.org/x/sys/unix"
)

// Adopt makes the directory or file at path, which lies where l.Holds allows and
// nothing else uses any more, a ware without copying it: it gives every entry the
// metadata of the ware, hashes it where it lies and renames it into the warehouse.
// Afterwards nothing is at path. Extended attributes are removed,
// entries that the filters leave out are deleted, and a file with other names is
// replaced by a copy. No component of path below l's directory may be a symlink.
//
// After an error what is at path may have been changed in part; it still is the
// caller's. An error that matches ErrLayered means that the directory is part of an
// overlay and must be ingested instead.
func Adopt(ctx context.Context, l *warehouse.Local, path string, o Options) (warehouse.Record, error) {
	rec, err := adopt(ctx, l, path, o)
	if err != nil {
		return warehouse.Record{}, fmt.Errorf("adopt %s: %w", path, err)
	}
	return rec, nil
}

func adopt(ctx context.Context, l *warehouse.Local, path string, o Options) (warehouse.Record, error) {
	if len(o.Include)+len(o.Exclude) > 0 {
		return warehouse.Record{}, errors.New("include and exclude are for ingesting")
	}
	file, err := adoptable(l, path)
	if err != nil {
		return warehouse.Record{}, err
	}
	w, err := newWalk(ctx, o, &adopter{uid: uint32(os.Geteuid()), gid: uint32(os.Getegid())})
	if err != nil {
		return warehouse.Record{}, err
	}
	w.keepDirs = true
	if file {
		return w.adoptFile(l, path)
	}
	r, root, err := w.directory(path, -1)
	if err != nil {
		return warehouse.Record{}, err
	}
	rec := w.record(r, root)
	return rec.WithoutDirs(), commit(ctx, l, path, rec)
}

// adoptFile gives a file a staged directory to lie in.
func (w *walk) adoptFile(l *warehouse.Local, path string) (warehouse.Record, error) {
	staged, err := l.Stage("adopt")
	if err != nil {
		return warehouse.Record{}, err
	}
	in := filepath.Join(staged, "file")
	if err := unix.Rename(path, in); err != nil {
		return warehouse.Record{}, errors.Join(err, os.Remove(staged))
	}
	r, root, err := w.file(staged, "file", -1)
	if err == nil {
		rec := w.record(r, root)
		if err = commit(w.ctx, l, staged, rec); err == nil {
			return rec.WithoutDirs(), nil
		}
	}
	return warehouse.Record{}, errors.Join(err, unix.Rename(in, path), os.Remove(staged))
}

// adoptable reports whether path is a file, not a directory, and that it lies below
// the work directory with no symlink on the way.
func adoptable(l *warehouse.Local, path string) (file bool, err error) {
	if !l.Holds(path) {
		return false, fmt.Errorf("it is not below %s", l.WorkDir())
	}
	rel, err := filepath.Rel(l.Dir(), path)
	if err != nil {
		return false, err
	}
	at := l.Dir()
	var st unix.Stat_t
	for name := range strings.SplitSeq(rel, "/") {
		at += "/" + name
		if err := lstatat(unix.AT_FDCWD, at, &st); err != nil {
			return false, err
		}
		if st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return false, fmt.Errorf("%s is a symlink", at)
		}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return true, nil
	case unix.S_IFDIR:
		return false, nil
	}
	return false, errors.New("neither a directory nor a regular file")
}

// An adopter gives each entry the metadata of the ware, in place. On disk all is
// owned by whoever runs kiln, root inside its user namespace.
type adopter struct{ uid, gid uint32 }

func (a *adopter) enter(w *walk, d *dir) error { return nil }

func (a *adopter) visit(w *walk, d *dir, n *node, s *scratch) error {
	var st unix.Stat_t
	if n.meta.kind == KindFile {
		return a.file(w, d, n, &st, s)
	}
	err := w.describe(d, n, &st, s)
	if err == errSkip {
		if err := unix.Unlinkat(d.fd, n.name, 0); err != nil {
			return err
		}
		return errSkip
	}
	if err != nil {
		return err
	}
	return a.entry(d, n, &st)
}

// entry normalises what is neither a file nor a directory.
func (a *adopter) entry(d *dir, n *node, st *unix.Stat_t) error {
	if st.Uid != a.uid || st.Gid != a.gid {
		if err := unix.Fchownat(d.fd, n.name, int(a.uid), int(a.gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("chown: %w", err)
		}
	}
	if n.meta.kind != KindSymlink && st.Mode&0o7777 != n.meta.mode {
		if err := unix.Fchmodat(d.fd, n.name, n.meta.mode, 0); err != nil {
			return fmt.Errorf("chmod: %w", err)
		}
	}
	if err := setTimesAt(d.fd, n.name, &n.meta); err != nil {
		return fmt.Errorf("set mtime: %w", err)
	}
	if err := lstatat(d.fd, n.name, st); err != nil {
		return err
	}
	return n.made(st)
}

func (a *adopter) file(w *walk, d *dir, n *node, st *unix.Stat_t, s *scratch) error {
	fd, err := openFile(d.fd, n.name, st)
	if err != nil {
		return err
	}
	defer func() { unix.Close(fd) }()
	if st.Nlink > 1 {
		// Another name could change the ware later.
		if fd, err = unlink(w, d, n.name, fd, st, s); err != nil {
			return fmt.Errorf("copy a file with several links: %w", err)
		}
	}
	if err := w.describeStat(d, n, st, s); err != nil {
		return err
	}
	if err := w.hashContent(fd, -1, st.Size, n, s); err != nil {
		return err
	}
	if err := a.normalise(fd, st, &n.meta, s); err != nil {
		return err
	}
	n.seen = seenOf(st)
	return nil
}

// leave normalises a directory, after all that changes its mtime.
func (a *adopter) leave(w *walk, d *dir) error {
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	if err := a.normalise(d.fd, &d.st, &d.meta, s); err != nil {
		return err
	}
	d.seen = seenOf(&d.st)
	return nil
}

// normalise gives the file or directory open at fd the metadata m, and leaves its
// stat in st.
func (a *adopter) normalise(fd int, st *unix.Stat_t, m *meta, s *scratch) error {
	if err := stripXattrs(fd, s.buf[:]); err != nil {
		return err
	}
	if st.Uid != a.uid || st.Gid != a.gid {
		if err := unix.Fchown(fd, int(a.uid), int(a.gid)); err != nil {
			return fmt.Errorf("chown: %w", err)
		}
		// Which clears set-id bits.
		st.Mode &^= 0o7777
	}
	if st.Mode&0o7777 != m.mode {
		if err := unix.Fchmod(fd, m.mode); err != nil {
			return fmt.Errorf("chmod: %w", err)
		}
	}
	if err := setTimes(fd, m); err != nil {
		return fmt.Errorf("set mtime: %w", err)
	}
	if err := fstat(fd, st); err != nil {
		return err
	}
	return m.on(st)
}

// stripXattrs removes the extended attributes of what is open at fd. Labels of the
// host's security modules stay: they are not of the ware, and come back by themselves.
func stripXattrs(fd int, buf []byte) error {
	n, err := unix.Flistxattr(fd, buf)
	if err == unix.ENOTSUP || err == nil && n == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list extended attributes: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00") {
		switch name {
		case "user.overlay.redirect", "user.overlay.metacopy", "trusted.overlay.redirect", "trusted.overlay.metacopy":
			return ErrLayered
		}
		if strings.HasPrefix(name, "security.") && name != "security.capability" {
			continue
		}
		if err := unix.Fremovexattr(fd, name); err != nil && err != unix.ENODATA {
			return fmt.Errorf("remove extended attribute %s: %w", name, err)
		}
	}
	return nil
}

// unlink replaces the file name in d, open at fd, by a copy that has no other name.
// It closes fd and returns a descriptor of the copy, at its start, with its stat in st.
func unlink(w *walk, d *dir, name string, fd int, st *unix.Stat_t, s *scratch) (int, error) {
	var tmp string
	var to int
	for i := 0; ; i++ {
		var err error
		tmp = ".kiln-" + strconv.Itoa(i)
		to, err = openat(d.fd, tmp, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
		if err == nil {
			break
		}
		if err != unix.EEXIST {
			return fd, err
		}
	}
	err := w.copyContent(fd, to, st.Size, s)
	if err == nil {
		err = unix.Fchmod(to, st.Mode&0o7777)
	}
	if err == nil {
		_, err = unix.Seek(to, 0, unix.SEEK_SET)
	}
	if err == nil {
		err = unix.Renameat(d.fd, tmp, d.fd, name)
	}
	if err != nil {
		unix.Close(to)
		return fd, errors.Join(err, unix.Unlinkat(d.fd, tmp, 0))
	}
	unix.Close(fd)
	mtime := st.Mtim
	if err := fstat(to, st); err != nil {
		return to, err
	}
	st.Mtim = mtime // for filters that keep it
	return to, nil
}
