package pack

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
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

// readMessage decodes the Directory message of the directory at path. Its entries
// are sorted by name, as bytes.
func readMessage(msg []byte, path string) (m message, err error) {
	self, nodes, err := decodeDirectory(msg)
	if err != nil {
		return m, err
	}
	if m.self = self.entry(path); path == "" {
		m.file = isFileRoot(msg)
	}
	sortNodes(nodes)
	m.entries = make([]ListedEntry, len(nodes))
	for i := range nodes {
		n := &nodes[i]
		if i > 0 && n.name == nodes[i-1].name {
			return m, fmt.Errorf("%w: %q is in it twice", errWire, n.name)
		}
		e := &m.entries[i]
		e.Entry = n.meta.entry(join(path, n.name))
		switch n.meta.kind {
		case KindFile:
			e.Size = n.digest.size
			fallthrough
		case KindDir:
			e.SHA256 = hex.EncodeToString(n.digest.sum[:])
		}
	}
	return m, nil
}

// entry makes an Entry of metadata.
func (m *meta) entry(path string) Entry {
	return Entry{
		Path: path, Kind: m.kind, Mode: m.mode, UID: m.uid, GID: m.gid, Sec: m.sec, Nsec: m.nsec,
		Link: m.link, Major: m.major, Minor: m.minor,
	}
}

// isFileRoot reports whether a message is that of a ware that is one file.
func isFileRoot(msg []byte) (is bool) {
	_ = fields(msg, func(field int, props []byte, _ uint64) error { // it was decoded before
		if field != dirProps {
			return nil
		}
		return fields(props, func(field int, prop []byte, _ uint64) error {
			if field != propsNamed {
				return nil
			}
			return fields(prop, func(field int, b []byte, _ uint64) error {
				is = is || field == propName && string(b) == propRoot
				return nil
			})
		})
	})
	return is
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
