package warehouse

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// RecordStat tells one state of a record from any later one: whoever uses, replaces or
// commits a ware again changes it. It is comparable.
type RecordStat struct {
	Inode        uint64
	Mtime, Ctime int64 // nanoseconds since 1970
}

// A Victim is a ware that is to be evicted if nobody has used it since Seen.
type Victim struct {
	ID   WareID
	Seen RecordStat
}

// FreshTime is how long a ware that was just put in place is kept while anybody is at
// work: between putting it there and holding it, a run does not say that it needs it.
const FreshTime = 10 * time.Minute

// An Evictor removes wares that no open Local holds. One goroutine uses it.
type Evictor struct {
	Fresh time.Duration // FreshTime, but for tests

	l      *Local
	leases map[string]*leaseRead // by name of the file
	held   map[string]int        // by ware id: how many leases say so
}

// leaseRead is how far a lease was read.
type leaseRead struct {
	offset int64
	ids    []string
}

// Evictor begins to evict.
func (l *Local) Evictor() *Evictor {
	return &Evictor{Fresh: FreshTime, l: l, leases: map[string]*leaseRead{}, held: map[string]int{}}
}

// Others returns how many other Locals are open that hold something, or said that
// they are at work.
func (e *Evictor) Others() (n int, err error) {
	err = e.l.locked(func() error {
		err := e.readLeases()
		n = len(e.leases)
		return err
	})
	return n, err
}

// Held reports whether a ware was held by another Local when Others or Evict was last
// called.
func (e *Evictor) Held(id WareID) bool { return e.held[id.String()] > 0 }

// Evict removes those of the victims, some tens at a time at most, that nobody holds or
// has used since, and reports which. It keeps others from putting wares in place for as
// long as renaming takes, and deletes afterwards. What is killed leaves at most a
// fileset that is not there, and one below stage/.
func (e *Evictor) Evict(victims []Victim) (gone []bool, err error) {
	gone = make([]bool, len(victims))
	var aside []string
	err = e.l.locked(func() error {
		if err := e.readLeases(); err != nil {
			return err
		}
		for i, v := range victims {
			if e.Held(v.ID) {
				continue
			}
			p, err := e.l.place(v.ID)
			if err != nil {
				return err
			}
			now, err := statRecord(p.record)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if err != nil || now != v.Seen || len(e.leases) > 0 && e.fresh(now) {
				continue
			}
			path, err := e.l.takeOut(p)
			if path != "" {
				aside = append(aside, path)
			}
			if err != nil {
				return err
			}
			gone[i] = true
		}
		return nil
	})
	for _, path := range aside {
		err = errors.Join(err, RemoveTree(path))
	}
	return gone, err
}

// fresh reports whether a record changed a short time ago. One from the future counts:
// the clock was set back.
func (e *Evictor) fresh(s RecordStat) bool { return time.Since(time.Unix(0, s.Ctime)) < e.Fresh }

// takeOut removes a ware's record and renames its fileset aside. The warehouse's lock
// is held. aside is "" when there is no fileset.
func (l *Local) takeOut(p place) (aside string, err error) {
	for _, path := range []string{p.record, p.dirs} {
		if err := removeAny(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
	}
	return l.moveAside(p.fileset)
}

// moveAside renames a fileset away, if there is one.
func (l *Local) moveAside(fileset string) (aside string, err error) {
	aside, err = l.stagePath("remove")
	if err != nil {
		return "", err
	}
	if err := renameDir(fileset, aside, 0); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return "", nil
		}
		return "", err
	}
	return aside, nil
}

// RemoveOrphan removes a fileset that has no record, such as a killed process can
// leave. One that has a record by now stays.
func (l *Local) RemoveOrphan(id WareID) error {
	p, err := l.place(id)
	if err != nil {
		return err
	}
	aside := ""
	err = l.locked(func() error {
		if _, err := os.Lstat(p.record); err == nil {
			return nil
		}
		aside, err = l.takeOut(p)
		return err
	})
	if aside != "" {
		err = errors.Join(err, RemoveTree(aside))
	}
	return err
}

// StatRecord looks at the record of a ware, or at that of an alias itself. The error
// matches ErrMissing when there is none.
func (l *Local) StatRecord(id WareID) (RecordStat, error) {
	p, err := l.place(id)
	if err != nil {
		return RecordStat{}, err
	}
	s, err := statRecord(p.record)
	if errors.Is(err, fs.ErrNotExist) {
		err = &MissingError{What: "ware " + id.String()}
	}
	return s, err
}

func statRecord(path string) (RecordStat, error) {
	var st unix.Stat_t
	if err := retry(func() error { return unix.Lstat(path, &st) }); err != nil {
		return RecordStat{}, pathError("stat", path, err)
	}
	return RecordStat{st.Ino, st.Mtim.Nano(), st.Ctim.Nano()}, nil
}

// readLeases reads what the leases of others say that was not read before, and removes
// those of processes that died. The warehouse's lock is held.
func (e *Evictor) readLeases() error {
	dir := filepath.Join(e.l.dir, "lease")
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	alive := map[string]bool{}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		if e.l.lease != nil && e.l.lease.file.Name() == path {
			continue
		}
		live, err := e.readLease(path, entry.Name())
		if err != nil {
			return err
		}
		alive[entry.Name()] = live
	}
	for name, r := range e.leases {
		if alive[name] {
			continue
		}
		for _, id := range r.ids {
			if e.held[id]--; e.held[id] <= 0 {
				delete(e.held, id)
			}
		}
		delete(e.leases, name)
	}
	return nil
}

func (e *Evictor) readLease(path, name string) (live bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	if retry(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) }) == nil {
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) { // its Local is being closed
			return false, err
		}
		return false, nil
	}
	r := e.leases[name]
	if r == nil {
		r = &leaseRead{}
		e.leases[name] = r
	}
	if _, err := f.Seek(r.offset, io.SeekStart); err != nil {
		return true, err
	}
	for lines := bufio.NewReader(f); ; {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return true, nil // what is not a whole line is read the next time
		}
		if err != nil {
			return true, err
		}
		r.offset += int64(len(line))
		id := strings.TrimSuffix(line, "\n")
		r.ids = append(r.ids, id)
		e.held[id]++
	}
}

// Settled calls f while nobody puts wares in place or removes them, and returns what it
// says. Of a warehouse that is open for reading others may do so meanwhile.
func (l *Local) Settled(f func() bool) (bool, error) {
	if l.reads {
		return f(), nil
	}
	var yes bool
	err := l.flocked(unix.LOCK_SH, func() error {
		yes = f()
		return nil
	})
	return yes, err
}
