package warehouse

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// dirsInline is how many bytes of Directory messages a record holds itself: a
// second file costs a trivial step as much as everything else about its record.
const dirsInline = 4 << 10

// Commit makes a fileset that lies where Holds allows the ware rec.ID: it renames staged
// into place and then writes the record. Staged is a directory, for a ware of one
// file the directory that holds it as "file", and is gone afterwards. It is
// idempotent: of several commits of one id, the first one stays. The caller
// vouches for the content. If the ware there has another tree id, the error matches
// ErrOtherTree, and staged stays.
func (l *Local) Commit(staged string, rec Record) error {
	p, err := l.place(rec.ID)
	if err != nil {
		return err
	}
	rec.Created = created(rec)
	var leftover string
	err = l.locked(func() error {
		if there, err := l.read(p, rec.ID); err == nil {
			if err := rec.CheckTree(there.Tree, "the warehouse"); err != nil {
				return err
			}
			leftover = staged
			touchAfter(p.record, 0) // used again: nobody evicts it for how old it is
			return nil
		}
		// A fileset without a record is not there: what lies in its place is of
		// a commit that died, and perhaps not all of it reached the disk.
		if leftover, err = l.install(staged, p.fileset); err != nil {
			return err
		}
		return l.writeRecord(p, rec)
	})
	if leftover != "" {
		err = errors.Join(err, RemoveTree(leftover))
	}
	if err != nil {
		return fmt.Errorf("commit ware %s: %w", rec.ID, err)
	}
	return nil
}

// created is when rec was made: now, unless it says so.
func created(rec Record) time.Time {
	if rec.Created.IsZero() {
		return time.Now().UTC().Truncate(time.Second)
	}
	return rec.Created
}

// install renames staged to path. If something is at path, it trades places with
// staged, and its new path is returned.
func (l *Local) install(staged, path string) (leftover string, err error) {
	err = renameDir(staged, path, unix.RENAME_NOREPLACE)
	if errors.Is(err, fs.ErrNotExist) {
		if err = os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return "", err
		}
		err = renameDir(staged, path, unix.RENAME_NOREPLACE)
	}
	if !errors.Is(err, fs.ErrExist) {
		return "", err
	}
	old, err := l.stagePath("old")
	if err != nil {
		return "", err
	}
	if err := renameDir(path, old, 0); err != nil {
		return "", err
	}
	return old, renameDir(staged, path, unix.RENAME_NOREPLACE)
}

// renameDir renames a directory that may be read-only: to move one, the kernel
// wants to write to it, since its ".." changes.
func renameDir(from, to string, flags uint) error {
	err := rename(from, to, flags)
	if err != unix.EACCES {
		return pathError("rename", from, err)
	}
	info, statErr := os.Lstat(from)
	if statErr != nil || !info.IsDir() || info.Mode()&0o200 != 0 {
		return pathError("rename", from, err)
	}
	if err := os.Chmod(from, info.Mode()|0o700); err != nil {
		return err
	}
	if err := rename(from, to, flags); err != nil {
		return errors.Join(pathError("rename", from, err), os.Chmod(from, info.Mode()))
	}
	return os.Chmod(to, info.Mode())
}

func rename(from, to string, flags uint) error {
	err := retry(func() error { return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, flags) })
	if flags == 0 || err != unix.EINVAL && err != unix.ENOSYS {
		return err
	}
	// This file system knows no flags. The warehouse's lock is held, so that
	// looking first is safe.
	if _, err := os.Lstat(to); err == nil {
		return unix.EEXIST
	}
	return unix.Rename(from, to)
}

// writeRecord writes the record of a fileset that is in place.
func (l *Local) writeRecord(p place, rec Record) error {
	dirs := rec.Dirs
	if len(dirs) > dirsInline {
		rec.Dirs = nil
		if err := l.writeAside(p.dirs, dirs); err != nil {
			return err
		}
	}
	data, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	return l.writeAside(p.record, append(data, '\n'))
}

func (l *Local) writeAside(path string, data []byte) error {
	tmp, err := l.stagePath("record")
	if err != nil {
		return err
	}
	return writeAside(tmp, path, data)
}

// Restamp replaces the stamp of a ware that is there; a ware that is gone stays so.
// Of an alias it is the stamp of its fileset.
func (l *Local) Restamp(id WareID, stamp string) error {
	p, err := l.place(id)
	if err != nil {
		return err
	}
	return l.locked(func() error {
		rec, err := readRecord(p.record, id)
		if err == nil && rec.Alias {
			if p, err = l.place(rec.Tree); err == nil {
				rec, err = readRecord(p.record, rec.Tree)
			}
		}
		if err != nil {
			return err
		}
		rec.Stamp = stamp
		return l.writeRecord(p, rec)
	})
}

// Dirs returns the Directory messages of a ware's fileset, each behind its length
// as a varint, the root last; nil if none were kept.
func (l *Local) Dirs(rec Record) ([]byte, error) {
	if len(rec.Dirs) > 0 {
		return rec.Dirs, nil
	}
	p, err := l.place(rec.holder())
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(p.dirs)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// Remove deletes a ware. Its record goes first, then the fileset is renamed aside,
// so that a killed Remove leaves nothing half there. It is idempotent. Of an alias
// only the name goes.
func (l *Local) Remove(id WareID) error {
	p, err := l.place(id)
	if err != nil {
		return err
	}
	aside, err := l.stagePath("remove")
	if err != nil {
		return fmt.Errorf("remove ware %s: %w", id, err)
	}
	err = l.locked(func() error {
		for _, path := range []string{p.record, p.dirs} {
			if err := removeAny(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return renameDir(p.fileset, aside, 0)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = RemoveTree(aside)
	}
	if err != nil {
		return fmt.Errorf("remove ware %s: %w", id, err)
	}
	return nil
}
