package gc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/warehouse"
)

// A Shelf is a directory of things that are neither wares nor memos, each of which goes
// or stays as a whole.
type Shelf struct {
	Kind Kind   // "git cache"
	Dir  string // need not be there
	// Prefix, if not "", begins the names of the things; what has other names is none of them.
	Prefix string
	// Together is the part of a name up to which files belong together: those whose names
	// are equal up to its first occurrence are one thing. "": each is one of its own.
	Together string
	// Cache says that things can be made again at any time, and are: while kilns are at
	// work, those that were used within the last day stay, since file systems tell no
	// more exactly when a file was read.
	Cache bool
	// Written says that reading is no use: things are as old as what was last written.
	Written bool
	// Remove removes the thing at path. nil: it is renamed aside and deleted.
	Remove func(path string) error
	// Keep, if not nil, says why the thing at path stays, or "".
	Keep func(path string) string
}

// A thing is one on a shelf.
type thing struct {
	item  Item // its name is the path; of things that belong together the part that they share
	shelf *Shelf
	files []string // beside the one at item.Name
	kept  bool
	gone  bool
}

// cacheGrace is how exactly it is known when a file in a cache was read: mounted with
// relatime, as is usual, a file's atime is written once a day.
const cacheGrace = 24 * time.Hour

func (c *collection) listShelves() error {
	for i := range c.o.Shelves {
		s := &c.o.Shelves[i]
		entries, err := os.ReadDir(s.Dir)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.Kind, err)
		}
		together := map[string]int{}
		for _, e := range entries {
			path := filepath.Join(s.Dir, e.Name())
			if strings.HasPrefix(e.Name(), removedPrefix) {
				if err := c.sweepRemoved(path); err != nil {
					return fmt.Errorf("%s: %w", s.Kind, err)
				}
				continue
			}
			if !strings.HasPrefix(e.Name(), s.Prefix) {
				continue
			}
			disk, used, err := lookAt(c.ctx, path, s.Written)
			if err != nil {
				return fmt.Errorf("%s: %w", s.Kind, err)
			}
			used = min(used, c.now)
			name, _, _ := strings.Cut(e.Name(), s.Together)
			if at, ok := together[name]; ok && s.Together != "" {
				t := &c.things[at]
				t.files = append(t.files, path)
				t.item.Disk += disk
				t.item.Used = time.Unix(max(used, t.item.Used.Unix()), 0).UTC()
				continue
			}
			together[name] = len(c.things)
			c.things = append(c.things, thing{shelf: s, item: Item{Kind: s.Kind, Name: path, Disk: disk, Used: time.Unix(used, 0).UTC()}})
		}
	}
	return nil
}

// removedPrefix begins the names of directories that hold what is being deleted.
const removedPrefix = ".removed-"

// sweepRemoved finishes what a collection that was killed has begun.
func (c *collection) sweepRemoved(path string) error {
	if c.o.DryRun {
		return nil
	}
	return warehouse.RemoveTree(path)
}

// lookAt says what something takes, and when any part of it was last written or, unless
// only that counts, read.
func lookAt(ctx context.Context, path string, written bool) (disk, used int64, err error) {
	err = filepath.WalkDir(path, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
				return nil
			}
			return err
		}
		var st unix.Stat_t
		if unix.Lstat(p, &st) != nil {
			return ctx.Err()
		}
		disk += diskOf(&st)
		used = max(used, st.Mtim.Sec)
		if st.Mode&unix.S_IFMT == unix.S_IFREG && !written { // a directory's is of this look
			used = max(used, st.Atim.Sec)
		}
		return ctx.Err()
	})
	return disk, used, err
}

func (c *collection) removeThing(t *thing, why string) error {
	if t.gone || t.kept {
		return nil
	}
	busy := t.shelf.Cache && c.report.Running > 0 && c.now-t.item.Used.Unix() < int64(cacheGrace/time.Second)
	if busy || t.shelf.Keep != nil && t.shelf.Keep(t.item.Name) != "" {
		t.kept = true
		return nil
	}
	if !c.o.DryRun {
		for _, path := range append([]string{t.item.Name}, t.files...) {
			if err := t.shelf.remove(path); err != nil {
				return fmt.Errorf("%s: %w", t.shelf.Kind, err)
			}
		}
	}
	t.gone = true
	i := t.item
	i.Why = why
	c.removed(i)
	return nil
}

// remove removes one path, at once for everybody who looks for it.
func (s *Shelf) remove(path string) error {
	if s.Remove != nil {
		return s.Remove(path)
	}
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		err := os.Remove(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	aside, err := os.MkdirTemp(s.Dir, removedPrefix)
	if err == nil {
		err = os.Rename(path, filepath.Join(aside, "it"))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(err, warehouse.RemoveTree(aside))
	}
	return warehouse.RemoveTree(aside)
}
