package pack

import (
	"iter"
	"strings"
)

// A Difference is one path at which two filesets differ.
type Difference struct {
	Path     string       // from the root, "" for the root itself
	Old, New *ListedEntry // nil: there is nothing
	// What the two differ in, if there are two: "type", "content", "target",
	// "device", "mode", "owner", "mtime", in this order. After "type", no more.
	What []string
}

// Diff compares two filesets, by path. Directories that have the same digest are not
// looked into. Of a directory that is in one of them only, everything below follows
// it. Patterns in exclude leave out what they match.
func Diff(old, new *Listing, exclude []string) iter.Seq2[Difference, error] {
	return func(yield func(Difference, error) bool) {
		match, err := newMatcher(nil, exclude)
		if err != nil {
			yield(Difference{}, err)
			return
		}
		c := &comparison{old: old, new: new, match: match, owners: true, whole: true, found: func(d Difference) bool { return yield(d, nil) }}
		if err := c.roots(); err != nil {
			yield(Difference{}, err)
		}
	}
}

// A comparison compares two filesets and tells what it finds.
type comparison struct {
	old, new *Listing
	match    *matcher
	owners   bool // they count
	whole    bool // what is below a directory that is in one only is told too
	last     bool // a directory's own metadata comes after what is in it
	found    func(Difference) bool
	ended    bool // found wants no more
}

func (c *comparison) tell(d Difference) {
	c.ended = c.ended || !c.found(d)
}

func (c *comparison) roots() error {
	old, err := c.old.Root()
	if err != nil {
		return err
	}
	new, err := c.new.Root()
	if err != nil {
		return err
	}
	return c.pair(old, new)
}

// pair compares what is at one path in both.
func (c *comparison) pair(old, new ListedEntry) error {
	switch {
	case old.Kind == KindDir && new.Kind == KindDir:
		return c.dirs(old.SHA256, new.SHA256, old.Path)
	case old.Kind == KindDir:
		m, err := c.old.read(old.SHA256, old.Path)
		if err != nil {
			return err
		}
		old = m.entry(old.SHA256)
		c.tell(Difference{old.Path, &old, &new, []string{"type"}})
		return c.below(c.old, &m, removed)
	case new.Kind == KindDir:
		m, err := c.new.read(new.SHA256, new.Path)
		if err != nil {
			return err
		}
		new = m.entry(new.SHA256)
		c.tell(Difference{old.Path, &old, &new, []string{"type"}})
		return c.below(c.new, &m, added)
	}
	if what := c.differs(&old, &new); len(what) > 0 {
		c.tell(Difference{old.Path, &old, &new, what})
	}
	return nil
}

func removed(e *ListedEntry) Difference { return Difference{Path: e.Path, Old: e} }
func added(e *ListedEntry) Difference   { return Difference{Path: e.Path, New: e} }

// below tells of what a directory holds that is in one of the filesets only.
func (c *comparison) below(l *Listing, m *message, one func(*ListedEntry) Difference) error {
	if !c.whole {
		return nil
	}
	for _, e := range m.entries {
		if err := c.single(l, e, one); err != nil || c.ended {
			return err
		}
	}
	return nil
}

// single tells of an entry that is in l only.
func (c *comparison) single(l *Listing, e ListedEntry, one func(*ListedEntry) Difference) error {
	if !c.takes(e) || c.ended {
		return nil
	}
	if e.Kind != KindDir {
		c.tell(one(&e))
		return nil
	}
	m, err := l.read(e.SHA256, e.Path)
	if err != nil {
		return err
	}
	e = m.entry(e.SHA256)
	c.tell(one(&e))
	return c.below(l, &m, one)
}

func (c *comparison) takes(e ListedEntry) bool {
	if c.match == nil {
		return true
	}
	take, _ := c.match.take(e.Path, e.Kind == KindDir, true)
	return take
}

// dirs compares two directories, given by their hashes.
func (c *comparison) dirs(oldHash, newHash, path string) error {
	if oldHash == newHash || c.ended {
		return nil
	}
	old, err := c.old.read(oldHash, path)
	if err != nil {
		return err
	}
	new, err := c.new.read(newHash, path)
	if err != nil {
		return err
	}
	x, y := old.entry(oldHash), new.entry(newHash)
	what := c.metadata(&x, &y)
	if len(what) > 0 && !c.last {
		c.tell(Difference{path, &x, &y, what})
	}
	if err := c.entries(old.entries, new.entries); err != nil {
		return err
	}
	if len(what) > 0 && c.last && !c.ended {
		c.tell(Difference{path, &x, &y, what})
	}
	return nil
}

func (c *comparison) entries(a, b []ListedEntry) (err error) {
	for (len(a) > 0 || len(b) > 0) && err == nil && !c.ended {
		order := 0
		switch {
		case len(b) == 0:
			order = -1
		case len(a) == 0:
			order = 1
		default:
			order = strings.Compare(a[0].Path, b[0].Path)
		}
		switch {
		case order < 0:
			err = c.single(c.old, a[0], removed)
		case order > 0:
			err = c.single(c.new, b[0], added)
		case c.takes(a[0]):
			err = c.pair(a[0], b[0])
		}
		if order <= 0 {
			a = a[1:]
		}
		if order >= 0 {
			b = b[1:]
		}
	}
	return err
}

// differs says in what two entries differ that are not both directories.
func (c *comparison) differs(old, new *ListedEntry) (what []string) {
	if old.Kind != new.Kind {
		return []string{"type"}
	}
	if old.SHA256 != new.SHA256 {
		what = append(what, "content")
	}
	if old.Link != new.Link {
		what = append(what, "target")
	}
	if old.Major != new.Major || old.Minor != new.Minor {
		what = append(what, "device")
	}
	return append(what, c.metadata(old, new)...)
}

func (c *comparison) metadata(old, new *ListedEntry) (what []string) {
	if old.Mode != new.Mode {
		what = append(what, "mode")
	}
	if c.owners && (old.UID != new.UID || old.GID != new.GID) {
		what = append(what, "owner")
	}
	if old.Sec != new.Sec || old.Nsec != new.Nsec {
		what = append(what, "mtime")
	}
	return what
}
