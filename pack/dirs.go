package pack

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// A treeEntry is one entry of a Directory message.
type treeEntry struct {
	name  string
	kind  string // "file", "directory", "symlink"
	hash  string // of a directory, to look it up; of a file's content
	body  string // the rest of a symlink or file node, without owner
	props string
}

// A treeDir is a Directory message.
type treeDir struct {
	entries []treeEntry // sorted by name
	props   string
}

var errWire = errors.New("malformed Directory message")

// readDirs reads Directory messages, each behind its length, by their hash. It
// returns the hash of the last one, the root.
func readDirs(data []byte) (dirs map[string]treeDir, root string, err error) {
	dirs = map[string]treeDir{}
	for len(data) > 0 {
		size, n := binary.Uvarint(data)
		if n <= 0 || size > uint64(len(data)-n) {
			return nil, "", errWire
		}
		msg := data[n : n+int(size)]
		data = data[n+int(size):]
		sum := sha256.Sum256(msg)
		root = hex.EncodeToString(sum[:])
		if dirs[root], err = readDir(msg); err != nil {
			return nil, "", err
		}
	}
	return dirs, root, nil
}

func readDir(msg []byte) (d treeDir, err error) {
	err = fields(msg, func(field int, b []byte, _ uint64) error {
		kind := map[int]string{dirFiles: "file", dirDirs: "directory", dirLinks: "symlink"}[field]
		if field == dirProps {
			d.props, err = withoutOwner(b)
			return err
		}
		if kind == "" {
			return errWire
		}
		e, err := readEntry(kind, b)
		d.entries = append(d.entries, e)
		return err
	})
	slices.SortFunc(d.entries, func(a, b treeEntry) int { return strings.Compare(a.name, b.name) })
	return d, err
}

func readEntry(kind string, msg []byte) (treeEntry, error) {
	e := treeEntry{kind: kind}
	err := fields(msg, func(field int, b []byte, v uint64) (err error) {
		switch {
		case field == fileName: // of all three nodes
			e.name = string(b)
		case kind == "symlink" && field == linkTarget:
			e.body = string(b)
		case kind == "symlink" && field == linkProps, kind == "file" && field == fileProps:
			e.props, err = withoutOwner(b)
		case field == fileDigest: // and subdirDigest
			err = fields(b, func(field int, b []byte, v uint64) error {
				if field == digestHash {
					e.hash = string(b)
				}
				return nil
			})
		case kind == "file" && field == fileExecutable:
			e.body = fmt.Sprint(v)
		}
		return err
	})
	return e, err
}

// withoutOwner returns NodeProperties without the owner, which filesets at rest do
// not have.
func withoutOwner(msg []byte) (string, error) {
	var out strings.Builder
	err := fields(msg, func(field int, b []byte, v uint64) error {
		if field == propsNamed {
			var name string
			err := fields(b, func(field int, b []byte, _ uint64) error {
				if field == propName {
					name = string(b)
				}
				return nil
			})
			if err != nil || name == propUID || name == propGID {
				return err
			}
		}
		fmt.Fprintf(&out, "%d %d %q\n", field, v, b)
		return nil
	})
	return out.String(), err
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

// A difference is where one fileset is not like another.
type difference struct{ path, what string }

// firstDifference compares the fileset with root hash got to that with want, each
// described by dirs, owners aside. It returns nil if they are alike.
func firstDifference(want, got map[string]treeDir, wantRoot, gotRoot, path string) *difference {
	if wantRoot == gotRoot {
		return nil
	}
	a, b := want[wantRoot], got[gotRoot]
	for len(a.entries) > 0 || len(b.entries) > 0 {
		switch {
		case len(b.entries) == 0 || len(a.entries) > 0 && a.entries[0].name < b.entries[0].name:
			return &difference{join(path, a.entries[0].name), "it is missing"}
		case len(a.entries) == 0 || b.entries[0].name < a.entries[0].name:
			return &difference{join(path, b.entries[0].name), "it does not belong there"}
		}
		x, y := a.entries[0], b.entries[0]
		a.entries, b.entries = a.entries[1:], b.entries[1:]
		at := join(path, x.name)
		if x.kind == "directory" && y.kind == "directory" {
			if d := firstDifference(want, got, x.hash, y.hash, at); d != nil {
				return d
			}
			continue
		}
		if what := differs(x, y); what != "" {
			return &difference{at, what}
		}
	}
	if a.props != b.props {
		return &difference{path, "its mode or mtime has changed"}
	}
	return nil
}

func differs(want, got treeEntry) string {
	switch {
	case want.kind != got.kind:
		return fmt.Sprintf("it is a %s, not a %s", got.kind, want.kind)
	case want.hash != got.hash:
		return "its content has changed"
	case want.kind == "symlink" && want.body != got.body:
		return fmt.Sprintf("it leads to %q, not %q", got.body, want.body)
	case want.body != got.body || want.props != got.props:
		return "its mode or mtime has changed"
	}
	return ""
}
