package git

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
)

// A Mode is what a tree says of an entry: its type and whether it can be executed.
type Mode uint32

// The modes that a tree can have. Others are refused, but for octal 100664, which
// old repositories have and git takes for a plain file too.
const (
	ModeDir        Mode = 0o040000
	ModeFile       Mode = 0o100644
	ModeExecutable Mode = 0o100755
	ModeSymlink    Mode = 0o120000
	ModeSubmodule  Mode = 0o160000
)

// A TreeEntry is one entry of a tree.
type TreeEntry struct {
	Name string
	Mode Mode
	ID   ID
}

// ParseTree reads a tree object whose ids have size bytes. Names that would mean
// something else in a directory, a wrong order and names that come twice are errors,
// which name the entry.
func ParseTree(data []byte, size int) ([]TreeEntry, error) {
	entries := make([]TreeEntry, 0, len(data)/(size+20))
	for len(data) > 0 {
		e, rest, err := parseTreeEntry(data, size)
		if err != nil {
			return nil, err
		}
		data = rest
		if err := checkName(e.Name); err != nil {
			return nil, fmt.Errorf("entry %q: %w", e.Name, err)
		}
		if n := len(entries); n > 0 && !before(&entries[n-1], &e) {
			if entries[n-1].Name == e.Name {
				return nil, fmt.Errorf("entry %q: it is there twice", e.Name)
			}
			return nil, fmt.Errorf("entry %q: it is not in order after %q", e.Name, entries[n-1].Name)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func parseTreeEntry(data []byte, size int) (e TreeEntry, rest []byte, err error) {
	head, rest, ok := bytes.Cut(data, []byte{0})
	digits, name, space := bytes.Cut(head, []byte{' '})
	if !ok || !space || len(rest) < size || len(digits) == 0 || len(digits) > 6 {
		return e, nil, errors.New("it is damaged, or no tree")
	}
	e.Name, e.ID = string(name), ID(rest[:size])
	for _, c := range digits {
		if c < '0' || c > '7' {
			return e, nil, errors.New("it is damaged, or no tree")
		}
		e.Mode = e.Mode<<3 | Mode(c-'0')
	}
	switch e.Mode {
	case ModeDir, ModeFile, ModeExecutable, ModeSymlink, ModeSubmodule:
	case 0o100664:
		e.Mode = ModeFile
	default:
		return e, nil, fmt.Errorf("entry %q: its mode %06o is none that git knows", e.Name, uint32(e.Mode))
	}
	return e, rest[size:], nil
}

// before reports whether b may follow a: trees are sorted by name, those of
// directories taken to end in a slash.
func before(a, b *TreeEntry) bool {
	key := func(e *TreeEntry) string {
		if e.Mode == ModeDir {
			return e.Name + "/"
		}
		return e.Name
	}
	return a.Name != b.Name && key(a) < key(b)
}

// checkName refuses names that are none in a directory, and those that git itself
// refuses to check out: .git, however a file system might spell it.
func checkName(name string) error {
	switch {
	case name == "":
		return errors.New("it has no name")
	case name == "." || name == "..":
		return errors.New("no entry can have this name")
	case strings.Contains(name, "/"):
		return errors.New("its name has a slash in it")
	case len(name) > 255:
		return fmt.Errorf("its name has %d bytes, and no file system takes more than 255", len(name))
	case isDotGit(name):
		return errors.New("git does not allow this name: it is, or for some file systems is, that of a repository's own directory")
	}
	return nil
}

// isDotGit knows .git as case-insensitive file systems, NTFS (trailing dots and
// spaces, streams, short names) and HFS+ (ignored code points) may spell it.
func isDotGit(name string) bool {
	if len(name) < 4 || name[0] != '.' && name[0] != 'g' && name[0] != 'G' && name[0] < 0x80 {
		return false
	}
	plain := strings.ToLower(strings.Map(func(r rune) rune {
		if r == 0xfeff || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, name))
	plain, _, _ = strings.Cut(plain, ":")
	plain = strings.TrimRight(plain, ". ")
	return plain == ".git" || plain == "git~1"
}
