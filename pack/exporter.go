package pack

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// An exporter makes a copy below d.dst of a fileset in the warehouse. On disk all is
// owned by whoever keeps the warehouse; the listing knows what owners there were.
type exporter struct {
	list    *Listing
	filters Filters
	fifos   bool // the packtype takes them as they are
}

func (x *exporter) enter(w *walk, d *dir) (err error) {
	if d.parent == nil {
		d.listed, err = x.list.read(x.list.root, "")
		return err
	}
	e, err := d.parent.recorded(d.name)
	if err != nil {
		return err
	}
	if e.Kind != KindDir {
		return misplaced(e.Kind, KindDir)
	}
	if d.listed, err = x.list.read(e.SHA256, ""); err != nil {
		return err
	}
	if err := unix.Mkdirat(d.parent.dst, d.name, 0o700); err != nil {
		return fmt.Errorf("create directory: %w", err)
	}
	d.dst, err = openat(d.parent.dst, d.name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	return err
}

// recorded finds an entry of d in what is recorded of it.
func (d *dir) recorded(name string) (*ListedEntry, error) {
	entries := d.listed.entries
	i, ok := slices.BinarySearchFunc(entries, name, func(e ListedEntry, name string) int { return strings.Compare(e.Path, name) })
	if !ok {
		return nil, fmt.Errorf("%w: it does not belong there", ErrCorrupt)
	}
	return &entries[i], nil
}

func misplaced(want, got Kind) error {
	return fmt.Errorf("%w: it is %s, not %s", ErrCorrupt, kindName(got), kindName(want))
}

func (x *exporter) visit(w *walk, d *dir, n *node, s *scratch) error {
	if d.single {
		var err error
		if d.listed, err = x.list.read(x.list.root, ""); err != nil {
			return err
		}
		n.name = "file"
	}
	e, err := d.recorded(n.name)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if n.meta.kind == KindFile {
		return x.file(w, d, n, e, &st, s)
	}
	if err := w.describe(d, n, &st, s); err != nil {
		return err
	}
	if n.meta.kind != e.Kind {
		return misplaced(e.Kind, n.meta.kind)
	}
	m, err := x.outside(n.meta, &e.Entry)
	if err == errSkip {
		return nil // it is there, and not exported
	}
	if err != nil {
		return err
	}
	return m.plant(d.dst, n.name)
}

// outside is the metadata that something with the metadata m is given outside.
func (x *exporter) outside(m meta, e *Entry) (meta, error) {
	m.uid, m.gid = e.UID, e.GID
	return m, x.filters.apply(&m, x.fifos)
}

// plant makes an entry that is neither a file nor a directory.
func (m *meta) plant(dst int, name string) error {
	n := node{name: name, meta: *m}
	if err := n.create(dst); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := lstatat(dst, name, &st); err != nil {
		return err
	}
	if st.Uid == m.uid && st.Gid == m.gid {
		return m.on(&st)
	}
	if err := unix.Fchownat(dst, name, int(m.uid), int(m.gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return m.notOwned(err)
	}
	if m.kind != KindSymlink {
		if err := unix.Fchmodat(dst, name, m.mode, 0); err != nil {
			return fmt.Errorf("chmod: %w", err)
		}
	}
	if err := lstatat(dst, name, &st); err != nil {
		return err
	}
	return m.on(&st)
}

func (x *exporter) file(w *walk, d *dir, n *node, e *ListedEntry, st *unix.Stat_t, s *scratch) error {
	if e.Kind != KindFile {
		return misplaced(e.Kind, KindFile)
	}
	fd, err := openFile(d.fd, n.name, st)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := w.describeStat(d, n, st, s); err != nil {
		return err
	}
	m, err := x.outside(n.meta, &e.Entry)
	if err != nil {
		return err
	}
	to, err := openat(d.dst, n.name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	defer unix.Close(to)
	if err := w.copyHashed(fd, to, st, n, s); err != nil {
		return err
	}
	return m.settle(to)
}

func (x *exporter) leave(w *walk, d *dir) error {
	if d.single {
		return nil
	}
	m, err := x.outside(d.meta, &d.listed.self)
	d.listed = message{}
	if err != nil {
		return err
	}
	return m.settle(d.dst)
}

// settle gives the file or directory open at fd its metadata, the owner first: to set
// that clears set-id bits.
func (m *meta) settle(fd int) error {
	var st unix.Stat_t
	if err := fstat(fd, &st); err != nil {
		return err
	}
	if st.Uid != m.uid || st.Gid != m.gid {
		if err := unix.Fchown(fd, int(m.uid), int(m.gid)); err != nil {
			return m.notOwned(err)
		}
	}
	if err := unix.Fchmod(fd, m.mode); err != nil {
		return fmt.Errorf("chmod: %w", err)
	}
	if err := setTimes(fd, m); err != nil {
		return fmt.Errorf("set mtime: %w", err)
	}
	if err := fstat(fd, &st); err != nil {
		return err
	}
	return m.on(&st)
}

// notOwned says that an entry could not be given its owner.
func (m *meta) notOwned(err error) error {
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL) { // EINVAL: an id that no user namespace knows
		return fmt.Errorf("give it the owner %d:%d: %w: only root may; with the filters uid=mine,gid=mine it is yours", m.uid, m.gid, err)
	}
	return fmt.Errorf("give it the owner %d:%d: %w", m.uid, m.gid, err)
}
