package keep

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// scan finds what is there. The time a file was used is its mtime: atime is kept too
// rarely, if at all. Files that are not the store's are left alone and not counted.
func (s *Store) scan() error {
	var found []*entry
	for k := range kinds {
		shards, err := os.ReadDir(filepath.Join(s.dir, folders[k]))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, shard := range shards {
			files, err := os.ReadDir(filepath.Join(s.dir, folders[k], shard.Name()))
			if err != nil {
				continue // no directory of ours
			}
			for _, f := range files {
				if e := entryOf(k, shard.Name(), f); e != nil {
					found = append(found, e)
				}
			}
		}
	}
	slices.SortFunc(found, func(a, b *entry) int { return cmp.Compare(a.stamped, b.stamped) })
	for _, e := range found {
		s.add(e)
	}
	return nil
}

func entryOf(k kind, shard string, f fs.DirEntry) *entry {
	sum, err := ParseSum(f.Name())
	if err != nil || shard != f.Name()[:2] || !f.Type().IsRegular() {
		return nil
	}
	info, err := f.Info()
	if err != nil {
		return nil
	}
	return &entry{key: key{k, sum}, bytes: info.Size(), stamped: info.ModTime().Unix()}
}

// add makes e the newest entry.
func (s *Store) add(e *entry) {
	s.there[e.key] = e
	s.used += room(e.bytes)
	s.push(e)
}

func (s *Store) push(e *entry) {
	e.older, e.newer = s.newest, nil
	if s.newest != nil {
		s.newest.newer = e
	} else {
		s.oldest = e
	}
	s.newest = e
}

func (s *Store) unlink(e *entry) {
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		s.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		s.oldest = e.newer
	}
	e.newer, e.older = nil, nil
}
