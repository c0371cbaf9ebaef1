package warehouse

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A lease says which wares an open Local counts on: a file below lease/ with an id on
// each line, locked while the Local is open. That of a process that died is not
// locked, and counts for nothing. It is made under the warehouse's lock, so that
// nobody finds it before it is locked itself.
type lease struct {
	file *os.File
	held map[WareID]bool
}

// Hold keeps wares from being evicted until l is closed, and notes that they were used.
// All of them are there when it returns; otherwise the error matches ErrMissing, and
// those that are there are held all the same. Without ids it only says that somebody is
// at work. Of a warehouse that is open for reading nothing can be held: then Hold only
// looks. It is idempotent.
func (l *Local) Hold(ids ...WareID) error {
	if l.reads {
		return l.hold(ids, func(string) error { return nil })
	}
	return l.flocked(unix.LOCK_SH, func() error {
		if err := l.openLease(); err != nil {
			return err
		}
		return l.hold(ids, func(lines string) error {
			_, err := l.lease.file.WriteString(lines)
			return err
		})
	})
}

func (l *Local) hold(ids []WareID, write func(lines string) error) error {
	var lines strings.Builder
	var missing error
	for _, id := range ids {
		if l.lease != nil && l.lease.held[id] {
			continue
		}
		holder, err := l.used(id)
		if err != nil {
			missing = errors.Join(missing, err)
			continue
		}
		lines.WriteString(id.String() + "\n")
		if holder != id {
			lines.WriteString(holder.String() + "\n")
		}
		if l.lease != nil {
			l.lease.held[id] = true
		}
	}
	if lines.Len() > 0 {
		missing = errors.Join(missing, write(lines.String()))
	}
	return missing
}

// HoldMade is Hold for wares that this process, or one that it started, has just put
// there: it looks for nothing and waits for nobody.
func (l *Local) HoldMade(ids ...WareID) error {
	if l.reads {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lease == nil {
		if err := l.flockedHere(unix.LOCK_SH, l.openLease); err != nil {
			return err
		}
	}
	var lines strings.Builder
	for _, id := range ids {
		if !l.lease.held[id] {
			l.lease.held[id] = true
			lines.WriteString(id.String() + "\n")
		}
	}
	if lines.Len() == 0 {
		return nil
	}
	_, err := l.lease.file.WriteString(lines.String())
	return err
}

// openLease makes the lease of this Local. The warehouse's lock is held.
func (l *Local) openLease() error {
	if l.lease != nil {
		return nil
	}
	path := l.dir + "/lease/" + salt()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
		}
	}
	if err != nil {
		return err
	}
	if err := retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
		f.Close()
		return pathError("lock", path, err)
	}
	l.lease = &lease{file: f, held: map[WareID]bool{}}
	return nil
}

func (l *Local) closeLease() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lease != nil {
		os.Remove(l.lease.file.Name())
		l.lease.file.Close()
		l.lease = nil
	}
}

// used notes that a ware is used, as the mtime of its record, and returns the id under
// which its fileset lies: a collector that has chosen it sees that, also when whoever
// uses it is gone by then. The error matches ErrMissing when it is not there.
func (l *Local) used(id WareID) (holder WareID, err error) {
	holder = id
	if id.Packtype == "tree" {
		if !l.Exists(id) {
			return id, &MissingError{What: "ware " + id.String()}
		}
	} else {
		rec, err := l.Get(id)
		if err != nil {
			return id, err
		}
		holder = rec.holder()
	}
	if l.reads {
		return holder, nil
	}
	for _, one := range []WareID{id, holder}[:1+b2i(holder != id)] {
		if p, err := l.place(one); err == nil {
			touchAfter(p.record, 0)
		}
	}
	return holder, nil
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// touchAfter sets the mtime of the file at path to now, if it is older than after or in
// the future. That it cannot is no error: then it is evicted the earlier.
func touchAfter(path string, after time.Duration) {
	var st unix.Stat_t
	if retry(func() error { return unix.Lstat(path, &st) }) != nil {
		return
	}
	if age := time.Since(time.Unix(st.Mtim.Unix())); age < 0 || age >= after {
		_ = unix.UtimesNanoAt(unix.AT_FDCWD, path, nil, unix.AT_SYMLINK_NOFOLLOW)
	}
}
