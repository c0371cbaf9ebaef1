package pack

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A ListedEntry is one entry of a fileset as its Directory messages tell it.
type ListedEntry struct {
	Entry         // Path from the root, "" for the root itself; KindHardlink never occurs
	SHA256 string // 64 hex digits: of a file's content, of a directory's message; "" for others
}

// Name returns the last component of the entry's path, "." for the root.
func (e *ListedEntry) Name() string {
	if e.Path == "" {
		return "."
	}
	return e.Path[strings.LastIndexByte(e.Path, '/')+1:]
}

// A message is a decoded Directory message.
type message struct {
	self    Entry // mode, owner and mtime of the directory itself
	file    bool  // of a ware that is one file
	entries []ListedEntry
}

var errWire = errors.New("malformed Directory message")

// splitMessages finds Directory messages, each behind its length, by their hash. It
// returns the hash of the last one, the root.
func splitMessages(data []byte) (msgs map[string][]byte, root string, err error) {
	msgs = map[string][]byte{}
	for len(data) > 0 {
		size, n := binary.Uvarint(data)
		if n <= 0 || size > uint64(len(data)-n) {
			return nil, "", errWire
		}
		msg := data[n : n+int(size)]
		data = data[n+int(size):]
		sum := sha256.Sum256(msg)
		root = hex.EncodeToString(sum[:])
		msgs[root] = msg
	}
	return msgs, root, nil
}

// readMessage decodes the Directory message of the directory at path. Its entries
// are sorted by name, as bytes.
func readMessage(msg []byte, path string) (m message, err error) {
	m.self.Path, m.self.Kind, m.self.Sec = path, KindDir, defaultTime
	err = fields(msg, func(field int, b []byte, _ uint64) error {
		kind := map[int]Kind{dirFiles: KindFile, dirDirs: KindDir, dirLinks: KindSymlink}[field]
		switch {
		case field == dirProps:
			m.file, err = readProps(&m.self, b)
			return err
		case kind == 0:
			return errWire
		}
		e, err := readNode(kind, path, b)
		m.entries = append(m.entries, e)
		return err
	})
	if err != nil {
		return m, err
	}
	byPath := func(a, b ListedEntry) int { return strings.Compare(a.Path, b.Path) }
	slices.SortFunc(m.entries, byPath)
	for i := 1; i < len(m.entries); i++ {
		if m.entries[i].Path == m.entries[i-1].Path {
			return m, fmt.Errorf("%w: %q is in it twice", errWire, m.entries[i].Path)
		}
	}
	return m, nil
}

// readNode decodes a FileNode, DirectoryNode or SymlinkNode of the directory dir.
func readNode(kind Kind, dir string, msg []byte) (ListedEntry, error) {
	e := ListedEntry{Entry: Entry{Kind: kind, Sec: defaultTime}}
	var name string
	err := fields(msg, func(field int, b []byte, v uint64) (err error) {
		switch {
		case field == fileName: // of all three nodes
			name, err = unescape(string(b))
		case kind == KindSymlink && field == linkTarget:
			e.Link, err = unescape(string(b))
		case kind == KindSymlink && field == linkProps, kind != KindSymlink && field == fileProps:
			_, err = readProps(&e.Entry, b)
		case kind != KindSymlink && field == fileDigest: // and subdirDigest
			err = fields(b, func(field int, b []byte, v uint64) error {
				switch field {
				case digestHash:
					e.SHA256 = string(b)
				case digestSize:
					e.Size = int64(v)
				}
				return nil
			})
		}
		return err
	})
	if err == nil && (name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00")) {
		err = fmt.Errorf("%w: %q is no name of an entry", errWire, name)
	}
	e.Path = join(dir, name)
	switch e.Kind {
	case KindFile:
	case KindSymlink:
		e.Mode = 0o777
	default:
		e.Size = 0 // a directory's is that of its message
		if e.Kind != KindDir {
			e.SHA256 = ""
		}
	}
	return e, err
}

// readProps decodes NodeProperties into e. It reports whether they are those of the
// root of a ware that is one file.
func readProps(e *Entry, msg []byte) (file bool, err error) {
	err = fields(msg, func(field int, b []byte, _ uint64) error {
		switch field {
		case propsNamed:
			var name, value string
			if err := fields(b, func(field int, b []byte, _ uint64) error {
				switch field {
				case propName:
					name = string(b)
				case propValue:
					value = string(b)
				}
				return nil
			}); err != nil {
				return err
			}
			file = file || name == propRoot
			return setProp(e, name, value)
		case propsMtime:
			e.Sec = 0
			return fields(b, func(field int, _ []byte, v uint64) error {
				switch field {
				case timeSeconds:
					e.Sec = int64(v)
				case timeNanos:
					e.Nsec = uint32(v)
				}
				return nil
			})
		case propsMode:
			return fields(b, func(field int, _ []byte, v uint64) error {
				e.Mode = uint32(v) & 0o7777
				return nil
			})
		}
		return nil
	})
	return file, err
}

func setProp(e *Entry, name, value string) error {
	number := func(to *uint32, text string) error {
		n, err := strconv.ParseUint(text, 10, 32)
		if *to = uint32(n); err != nil {
			return fmt.Errorf("%w: property %s=%q", errWire, name, value)
		}
		return nil
	}
	switch name {
	case propUID:
		return number(&e.UID, value)
	case propGID:
		return number(&e.GID, value)
	case propDevice:
		major, minor, _ := strings.Cut(value, ":")
		return errors.Join(number(&e.Major, major), number(&e.Minor, minor))
	case propType:
		kind, ok := map[string]Kind{"fifo": KindFifo, "block": KindBlock, "char": KindChar}[value]
		if !ok {
			return fmt.Errorf("%w: property %s=%q", errWire, name, value)
		}
		e.Kind = kind
	}
	return nil
}

// unescape is the inverse of escape.
func unescape(s string) (string, error) {
	before, after, ok := strings.Cut(s, "\x00")
	if !ok {
		return s, nil
	}
	var b strings.Builder
	for ; ok; before, after, ok = strings.Cut(after, "\x00") {
		b.WriteString(before)
		if len(after) < 2 {
			return "", errWire
		}
		c, err := strconv.ParseUint(after[:2], 16, 8)
		if err != nil {
			return "", errWire
		}
		b.WriteByte(byte(c))
		after = after[2:]
	}
	b.WriteString(before)
	// There is one way to write a name; any other could hide a NUL, or make two of one.
	if name := b.String(); escape(name) == s {
		return name, nil
	}
	return "", errWire
}

// fields calls f with each field of a protobuf message: its bytes if it has a
// length, else its number.
func fields(msg []byte, f func(field int, b []byte, v uint64) error) error {
	for len(msg) > 0 {
		key, n := binary.Uvarint(msg)
		if n <= 0 {
			return errWire
		}
		msg = msg[n:]
		v, n := binary.Uvarint(msg)
		if n <= 0 {
			return errWire
		}
		msg = msg[n:]
		var b []byte
		switch key & 7 {
		case 0:
		case 2:
			if v > uint64(len(msg)) {
				return errWire
			}
			b, msg, v = msg[:v], msg[v:], 0
		default:
			return errWire
		}
		if err := f(int(key>>3), b, v); err != nil {
			return err
		}
	}
	return nil
}
