package warehouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/internal/dirlock"
)

// An Entry is a ware as its record's file shows it, unread.
type Entry struct {
	ID   WareID
	Stat RecordStat
	// Disk is what the record takes, and its Directory messages: bytes on disk.
	Disk int64
	// Bad says that the file is empty, no file, or Directory messages without a record.
	Bad bool
}

// chunk is how many names of a directory are held at a time.
const chunk = 1024

// Each calls f for every record, in no order, without reading it and without holding
// more than some hundred at a time. It ends with the first error of f.
func (l *Local) Each(ctx context.Context, f func(Entry) error) error {
	return l.eachIn(ctx, "record", func(dir, packtype, name string) error {
		hash, isRecord := strings.CutSuffix(name, ".json")
		isDirs := false
		if !isRecord {
			if hash, isDirs = strings.CutSuffix(name, ".dirs"); !isDirs {
				return nil
			}
		}
		e := Entry{ID: WareID{Packtype: packtype, Hash: hash}}
		if _, err := l.place(e.ID); err != nil {
			return nil // nothing of ours
		}
		var st unix.Stat_t
		if isDirs {
			if unix.Lstat(dir+"/"+hash+".json", &st) == unix.ENOENT && unix.Lstat(dir+"/"+name, &st) == nil {
				e.Bad, e.Disk = true, st.Blocks*512
				return f(e)
			}
			return nil
		}
		err := unix.Lstat(dir+"/"+name, &st)
		if err == unix.ENOENT {
			return nil // removed meanwhile
		}
		if err != nil {
			return pathError("stat", dir+"/"+name, err)
		}
		e.Stat = RecordStat{st.Ino, st.Mtim.Nano(), st.Ctim.Nano()}
		e.Bad = st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size == 0
		e.Disk = st.Blocks * 512
		if unix.Lstat(dir+"/"+hash+".dirs", &st) == nil {
			e.Disk += st.Blocks * 512
		}
		return f(e)
	})
}

// EachFileset calls f with the id under which each fileset lies, and where, whether it
// has a record or not.
func (l *Local) EachFileset(ctx context.Context, f func(id WareID, path string) error) error {
	return l.eachIn(ctx, "fileset", func(dir, packtype, name string) error {
		id := WareID{Packtype: packtype, Hash: name}
		if _, err := l.place(id); err != nil {
			return nil
		}
		return f(id, dir+"/"+name)
	})
}

// HasRecord reports whether there is a record of a ware, however it looks.
func (l *Local) HasRecord(id WareID) bool {
	_, err := l.StatRecord(id)
	return err == nil
}

// eachIn calls f for what is in each packtype's directory below top.
func (l *Local) eachIn(ctx context.Context, top string, f func(dir, packtype, name string) error) error {
	packtypes, err := os.ReadDir(filepath.Join(l.dir, top))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("list warehouse: %w", err)
	}
	for _, p := range packtypes {
		dir := filepath.Join(l.dir, top, p.Name())
		if err := eachName(ctx, dir, func(name string) error { return f(dir, p.Name(), name) }); err != nil {
			return fmt.Errorf("list warehouse: %w", err)
		}
	}
	return nil
}

// eachName calls f for the names in a directory, some at a time.
func eachName(ctx context.Context, dir string, f func(name string) error) error {
	d, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		names, err := d.Readdirnames(chunk)
		for _, name := range names {
			if err := f(name); err != nil {
				return err
			}
		}
		if err == io.EOF || err == nil && len(names) == 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// A MemoEntry is a memo as it lies on disk.
type MemoEntry struct {
	Key  StepKey
	Stat MemoStat
	Disk int64 // bytes on disk
	Memo *Memo // nil: it cannot be read as one
}

// EachKey calls f for the key of every memo, in no order, without looking at it.
func (m *Memos) EachKey(ctx context.Context, f func(StepKey) error) error {
	err := eachName(ctx, m.dir, func(name string) error {
		key, ok := strings.CutSuffix(name, ".json")
		if !ok {
			return nil
		}
		if _, err := m.path(StepKey(key)); err != nil {
			return nil // nothing of ours
		}
		return f(StepKey(key))
	})
	if err != nil {
		return fmt.Errorf("list memos: %w", err)
	}
	return nil
}

// Each calls f for every memo, in no order, holding one at a time.
func (m *Memos) Each(ctx context.Context, f func(MemoEntry) error) error {
	return m.EachKey(ctx, func(key StepKey) error {
		path, err := m.path(key)
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err == unix.ENOENT {
			return nil
		} else if err != nil {
			return pathError("stat", path, err)
		}
		e := MemoEntry{Key: key, Stat: MemoStat{st.Ino, uint64(st.Size), st.Mtim.Nano(), st.Ctim.Nano()}, Disk: st.Blocks * 512}
		e.Memo, err = m.Get(e.Key)
		if err != nil && !errors.Is(err, ErrMissing) {
			return err
		}
		return f(e)
	})
}

// Remove removes a memo, unless it is another one by now than seen. It is idempotent.
func (m *Memos) Remove(key StepKey, seen MemoStat) error {
	now, err := m.Stat(key)
	if errors.Is(err, ErrMissing) || err == nil && now != seen {
		return nil
	}
	if err != nil {
		return err
	}
	path, err := m.path(key)
	if err == nil {
		err = removeAny(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove memo %s: %w", key, err)
	}
	return nil
}

// Touch says that a memo was used at a time, or now for the zero time.
func (m *Memos) Touch(key StepKey, ns int64) {
	if path, err := m.path(key); err == nil {
		touchAt(path, ns)
	}
}

// Touch says that a ware was used now.
func (l *Local) Touch(id WareID) {
	if p, err := l.place(id); err == nil && !l.reads {
		touchAt(p.record, 0)
	}
}

// touchAt sets a file's mtime to now if ns is 0, else to ns if that is later.
func touchAt(path string, ns int64) {
	if ns == 0 {
		touchAfter(path, 0)
		return
	}
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil || st.Mtim.Nano() >= ns {
		return
	}
	now := unix.Timespec{Nsec: unix.UTIME_OMIT}
	_ = unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{now, unix.NsecToTimespec(ns)}, unix.AT_SYMLINK_NOFOLLOW)
}

// SweepWork removes what killed processes left below stage/ and, of runs in containers,
// below work/, and returns how many directories those were: empty ones, which packers
// leave when they end with their container, do not count. What belongs to ids of a user
// namespace is left to the next run, which enters one.
func (l *Local) SweepWork() (n int) {
	if l.reads {
		return 0
	}
	for _, top := range []string{"stage", "work"} {
		entries, _ := os.ReadDir(filepath.Join(l.dir, top))
		for _, e := range entries {
			if top == "work" && !strings.HasPrefix(e.Name(), "run-") {
				continue // of runners whose runs outlive their processes
			}
			path := filepath.Join(l.dir, top, e.Name())
			lock, err := dirlock.Lock(path, unix.LOCK_EX|unix.LOCK_NB)
			if err != nil {
				continue
			}
			if os.Remove(path) != nil && RemoveTree(path) == nil {
				n++
			}
			lock.Close()
		}
	}
	return n
}
