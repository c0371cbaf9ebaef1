package pack

import (
	"golang.org/x/sys/unix"
)

// keepOpen is how deep directories stay open until they are left, and every how many
// levels one does below that. The others are open only while somebody holds them, and
// reached again from the nearest one above that stayed open: a tree of 4,000 levels
// takes 130 descriptors, and a tree of 64 costs nothing.
const keepOpen = 64

// stays reports whether a directory at this depth stays open.
func stays(depth int) bool { return depth <= keepOpen || depth%keepOpen == 0 }

// hold makes sure that d is open until release.
func (w *walk) hold(d *dir) error {
	if d == nil || stays(d.depth) {
		return nil
	}
	d.holding.Lock()
	defer d.holding.Unlock()
	if d.holders == 0 {
		if err := w.reopen(d); err != nil {
			return err
		}
	}
	d.holders++
	return nil
}

// release undoes a hold.
func (w *walk) release(d *dir) {
	if d == nil || stays(d.depth) {
		return
	}
	d.holding.Lock()
	defer d.holding.Unlock()
	if d.holders--; d.holders == 0 {
		closeDir(d)
	}
}

// reopen opens d, and its copy if there is one, as it was opened before.
func (w *walk) reopen(d *dir) error {
	if err := w.hold(d.parent); err != nil {
		return err
	}
	defer w.release(d.parent)
	fd, err := openat(d.parent.fd, d.name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return entryError(d, "", changed(err))
	}
	d.fd = fd
	var st unix.Stat_t
	if err = fstat(fd, &st); err == nil && (st.Ino != d.st.Ino || st.Dev != d.st.Dev) {
		err = ErrChanged
	}
	if err == nil && d.parent.dst >= 0 {
		d.dst, err = openat(d.parent.dst, d.name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	}
	if err != nil {
		closeDir(d)
		return entryError(d, "", err)
	}
	return nil
}
