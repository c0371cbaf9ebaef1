package pack

import (
	"fmt"
	"io/fs"
	"iter"
	"strings"

	"github.com/kilnbuild/kiln/warehouse"
)

// A Listing is what a fileset holds: its Directory messages, decoded as they are
// asked for. It is safe for concurrent use.
type Listing struct {
	msgs map[string][]byte // by hash
	root string
}

// Resolve follows as many symlinks as the Linux kernel does, and no longer a path.
const (
	maxLinks      = 40
	maxLinkedPath = 1 << 20
)

// A NotFoundError says that a fileset has nothing at a path. It matches fs.ErrNotExist.
type NotFoundError struct {
	Path string   // that was looked for
	Dir  string   // the deepest directory on the way, "" for the root
	Name string   // what is not in it
	Has  []string // names of the entries it has
}

func (e *NotFoundError) Error() string {
	if e.Dir == "" || e.Path == e.Name {
		return fmt.Sprintf("%q is not in it", e.Path)
	}
	return fmt.Sprintf("%q is not in it: its directory %q has no %q", e.Path, e.Dir, e.Name)
}

// Is makes it match fs.ErrNotExist.
func (e *NotFoundError) Is(target error) bool { return target == fs.ErrNotExist }

// newListing reads Directory messages, each behind its length, the root last.
func newListing(data []byte) (*Listing, error) {
	root, msgs, err := indexDirs(data)
	if err == nil && root == "" {
		err = errWire
	}
	return &Listing{msgs, root}, err
}

// proves reports whether the listing is that of the fileset with this tree id.
func (l *Listing) proves(tree warehouse.WareID) bool {
	return strings.HasPrefix(tree.Hash, l.root+"-")
}

// read decodes the message with this hash, of the directory at path.
func (l *Listing) read(hash, path string) (message, error) {
	msg, ok := l.msgs[hash]
	if !ok {
		return message{}, fmt.Errorf("directory %q: its Directory message is missing", path)
	}
	m, err := readMessage(msg, path)
	if err == nil && m.file && (path != "" || len(m.entries) != 1 || m.entries[0].Kind != KindFile) {
		err = errWire
	}
	return m, err
}

// entry returns the directory of a message.
func (m *message) entry(hash string) ListedEntry { return ListedEntry{m.self, hash} }

// Root returns the root: a directory, or the file that the ware is.
func (l *Listing) Root() (ListedEntry, error) {
	m, err := l.read(l.root, "")
	switch {
	case err != nil:
		return ListedEntry{}, err
	case m.file:
		e := m.entries[0]
		e.Path = ""
		return e, nil
	}
	return m.entry(l.root), nil
}

// Below returns e and, if it is a directory, everything below it, by path: what a
// directory holds follows it at once.
func (l *Listing) Below(e ListedEntry) iter.Seq2[ListedEntry, error] {
	return func(yield func(ListedEntry, error) bool) { l.below(e, yield) }
}

func (l *Listing) below(e ListedEntry, yield func(ListedEntry, error) bool) bool {
	if e.Kind != KindDir {
		return yield(e, nil)
	}
	m, err := l.read(e.SHA256, e.Path)
	if err != nil {
		return yield(e, err)
	}
	if !yield(m.entry(e.SHA256), nil) {
		return false
	}
	for _, sub := range m.entries {
		if !l.below(sub, yield) {
			return false
		}
	}
	return true
}

// Children returns the entries of a directory, by name. Those that are directories
// lack mode, owner and mtime.
func (l *Listing) Children(e ListedEntry) ([]ListedEntry, error) {
	if e.Kind != KindDir {
		return nil, nil
	}
	m, err := l.read(e.SHA256, e.Path)
	return m.entries, err
}

// Lookup returns the entry at a path from the root, with no symlink on the way.
func (l *Listing) Lookup(path string) (ListedEntry, error) { return l.find(path, false) }

// Resolve is Lookup as if the root were that of a file system: symlinks are followed,
// absolute ones and ".." from the root and never above it.
func (l *Listing) Resolve(path string) (ListedEntry, error) { return l.find(path, true) }

func (l *Listing) find(wanted string, follow bool) (ListedEntry, error) {
	root, err := l.Root()
	above := []ListedEntry{root} // where the walk is, and the directories above
	links := 0
	for rest := wanted; err == nil && rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		at := above[len(above)-1]
		switch name {
		case "", ".":
			continue
		case "..":
			above = above[:max(1, len(above)-1)]
			continue
		}
		var next ListedEntry
		if next, err = l.child(at, name, wanted); err != nil {
			break
		}
		if next.Kind != KindSymlink || !follow {
			above = append(above, next)
			continue
		}
		if links++; links > maxLinks || len(rest) > maxLinkedPath {
			return next, fmt.Errorf("%q: its symlinks lead too far, the last of them %q", wanted, next.Path)
		}
		if strings.HasPrefix(next.Link, "/") {
			above = above[:1]
		}
		rest = next.Link + "/" + rest
	}
	return above[len(above)-1], err
}

func (l *Listing) child(at ListedEntry, name, wanted string) (ListedEntry, error) {
	if at.Kind != KindDir {
		return at, fmt.Errorf("%q: %q is no directory but %s", wanted, at.Name(), kindName(at.Kind))
	}
	m, err := l.read(at.SHA256, at.Path)
	if err != nil {
		return at, err
	}
	missing := &NotFoundError{Path: wanted, Dir: at.Path, Name: name}
	for _, e := range m.entries {
		if e.Name() != name {
			missing.Has = append(missing.Has, e.Name())
			continue
		}
		if e.Kind == KindDir {
			sub, err := l.read(e.SHA256, e.Path)
			return sub.entry(e.SHA256), err
		}
		return e, nil
	}
	return at, missing
}

// String names the kind in one word: "file", "directory", "symlink", "fifo", "block",
// "char" or "hardlink".
func (k Kind) String() string {
	switch k {
	case KindFile:
		return "file"
	case KindDir:
		return "directory"
	case KindSymlink:
		return "symlink"
	case KindFifo:
		return "fifo"
	case KindBlock:
		return "block"
	case KindChar:
		return "char"
	case KindHardlink:
		return "hardlink"
	}
	return fmt.Sprintf("kind %q", byte(k))
}
