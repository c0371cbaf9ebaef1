package pack

import (
	"context"
	"errors"
	"fmt"

	"github.com/kilnbuild/kiln/warehouse"
	"golang.org/x/sys/unix"
)

// Ingest copies the directory or file at path into the warehouse, leaving path as it
// is, and hashes exactly the bytes it writes. The error matches ErrChanged if a file
// changed meanwhile. With a cache that knows most of the fileset, nothing is copied
// if the ware is already there.
func Ingest(ctx context.Context, l *warehouse.Local, path string, o Options) (warehouse.Record, error) {
	rec, err := ingest(ctx, l, path, o)
	if err != nil {
		return warehouse.Record{}, fmt.Errorf("ingest %s: %w", path, err)
	}
	return rec, nil
}

func ingest(ctx context.Context, l *warehouse.Local, path string, o Options) (rec warehouse.Record, err error) {
	scanned, rec, err := there(ctx, l, path, o)
	if err != nil || !rec.ID.IsZero() {
		return rec.WithoutDirs(), err
	}
	if scanned {
		o.Cache = nil // what it can learn it has learned
	}
	w, err := newWalk(ctx, o, &ingester{})
	if err != nil {
		return rec, err
	}
	w.keepDirs = true
	staged, err := l.Stage("ingest")
	if err != nil {
		return rec, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, warehouse.RemoveTree(staged))
		}
	}()
	dst, err := openat(unix.AT_FDCWD, staged, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return rec, err
	}
	r, root, err := w.host(path, dst)
	if err != nil {
		return rec, err
	}
	w.cache.save(root)
	rec = w.record(r, root)
	return rec.WithoutDirs(), commit(ctx, l, staged, rec)
}

// there looks whether the warehouse has what is at path, whole, if the cache knows
// anything of it; rec is zero if not.
func there(ctx context.Context, l *warehouse.Local, path string, o Options) (scanned bool, rec warehouse.Record, err error) {
	w, err := newWalk(ctx, o, scanner{})
	if err != nil || w.cache == nil || w.cache.files == 0 {
		return false, rec, err
	}
	r, err := w.scan(path)
	if err != nil {
		return false, rec, nil // for who copies it to tell
	}
	if rec, err = l.Get(r.ID); err != nil || rec.Tree != r.Tree || Check(ctx, l, r.ID) != nil {
		return true, warehouse.Record{}, nil
	}
	l.Touch(r.ID)
	return true, rec, nil
}

// An ingester makes a copy below d.dst of what it visits below d.fd.
type ingester struct{ into unix.Stat_t } // the copy's root

func (v *ingester) enter(w *walk, d *dir) error {
	if d.parent == nil {
		return fstat(d.dst, &v.into)
	}
	if d.st.Ino == v.into.Ino && d.st.Dev == v.into.Dev {
		return errors.New("it is the copy being made: what is copied holds the place it is copied to; exclude that")
	}
	if err := unix.Mkdirat(d.parent.dst, d.name, 0o700); err != nil {
		return fmt.Errorf("create directory: %w", err)
	}
	var err error
	d.dst, err = openat(d.parent.dst, d.name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	return err
}

func (*ingester) visit(w *walk, d *dir, n *node, s *scratch) error {
	var st unix.Stat_t
	if n.meta.kind == KindFile {
		return w.ingestFile(d, n, &st, s)
	}
	if err := w.describe(d, n, &st, s); err != nil {
		return err
	}
	if err := n.create(d.dst); err != nil {
		return err
	}
	if err := lstatat(d.dst, n.name, &st); err != nil {
		return err
	}
	return n.made(&st)
}

// create makes an entry that is neither a file nor a directory in dst.
func (n *node) create(dst int) error {
	m := &n.meta
	switch m.kind {
	case KindSymlink:
		if err := unix.Symlinkat(m.link, dst, n.name); err != nil {
			return fmt.Errorf("create symlink: %w", err)
		}
		return setTimesAt(dst, n.name, m)
	case KindFifo, KindBlock, KindChar:
		typ := map[Kind]uint32{KindFifo: unix.S_IFIFO, KindBlock: unix.S_IFBLK, KindChar: unix.S_IFCHR}[m.kind]
		if err := unix.Mknodat(dst, n.name, typ|0o600, int(unix.Mkdev(m.major, m.minor))); err != nil {
			return fmt.Errorf("create device or named pipe: %w", err)
		}
		if err := unix.Fchmodat(dst, n.name, m.mode, 0); err != nil {
			return err
		}
		return setTimesAt(dst, n.name, m)
	}
	return fmt.Errorf("entry of unknown kind %q", m.kind)
}

func (w *walk) ingestFile(d *dir, n *node, st *unix.Stat_t, s *scratch) error {
	fd, err := openFile(d.fd, n.name, st)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := w.describeStat(d, n, st, s); err != nil {
		return err
	}
	name := n.name
	if d.single {
		name = "file"
	}
	to, err := openat(d.dst, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, n.meta.mode&0o777)
	if err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	defer unix.Close(to)
	if err := w.copyHashed(fd, to, st, n, s); err != nil {
		return err
	}
	w.cache.hashed(n)
	return finish(to, n)
}

// copyHashed copies the file open at from, which was as st says, to the empty file to,
// and hashes the bytes that are in the copy.
func (w *walk) copyHashed(from, to int, st *unix.Stat_t, n *node, s *scratch) error {
	var err error
	if w.clone(from, to) {
		err = w.hashContent(to, -1, st.Size, n, s)
	} else {
		err = w.hashContent(from, to, st.Size, n, s)
	}
	if err != nil {
		return err
	}
	return unchanged(from, st)
}

// finish gives the file open at fd the metadata of n, and n what was seen of it.
func finish(fd int, n *node) error {
	if err := setTimes(fd, &n.meta); err != nil {
		return fmt.Errorf("set mtime: %w", err)
	}
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&0o7777 != n.meta.mode { // often it was made with it
		if err := unix.Fchmod(fd, n.meta.mode); err != nil {
			return fmt.Errorf("chmod: %w", err)
		}
		if err := fstat(fd, &st); err != nil {
			return err
		}
	}
	return n.made(&st)
}

// clone makes the empty file to share the blocks of from, where both are on one
// file system that can.
func (w *walk) clone(from, to int) bool {
	if w.noClone.Load() {
		return false
	}
	if err := retry(func() error { return unix.IoctlFileClone(to, from) }); err != nil {
		w.noClone.Store(true)
		return false
	}
	return true
}

// copyContent copies the file open at from, from its present offset, to to.
func (w *walk) copyContent(from, to int, size int64, s *scratch) error {
	if w.clone(from, to) {
		return nil
	}
	for done := int64(0); done < size; {
		n, err := read(from, s.buf[:])
		if err == nil {
			err = writeAll(to, s.buf[:n])
		}
		if err == nil {
			err = w.ctx.Err()
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return ErrChanged
		}
		done += int64(n)
	}
	return nil
}

func (*ingester) leave(w *walk, d *dir) error {
	if d.skip && d.parent != nil {
		return unix.Unlinkat(d.parent.dst, d.name, unix.AT_REMOVEDIR)
	}
	return finish(d.dst, &d.node)
}
