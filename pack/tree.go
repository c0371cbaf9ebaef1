package pack

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/kilnbuild/kiln/warehouse"
)

// digest is a SHA-256 and the size of what was hashed, as in REAPI's Digest.
type digest struct {
	sum  [sha256.Size]byte
	size int64
}

func treeID(d digest) warehouse.WareID {
	return warehouse.WareID{Packtype: Tree, Hash: hex.EncodeToString(d.sum[:]) + "-" + strconv.FormatInt(d.size, 10)}
}

// Names of node properties, docs/formats.md, section 2.
const (
	propDevice = "kiln.device"
	propGID    = "kiln.gid"
	propRoot   = "kiln.root"
	propType   = "kiln.type"
	propUID    = "kiln.uid"
)

// Field numbers of build.bazel.remote.execution.v2, remote_execution.proto.
const (
	dirFiles, dirDirs, dirLinks, dirProps                         = 1, 2, 3, 5
	fileName, fileDigest, fileExecutable, fileProps               = 1, 2, 4, 6
	subdirName, subdirDigest                                      = 1, 2
	linkName, linkTarget, linkProps                               = 1, 2, 4
	propsNamed, propsMtime, propsMode                             = 1, 2, 3
	propName, propValue                                           = 1, 2
	digestHash, digestSize, timeSeconds, timeNanos, uint32Wrapped = 1, 2, 1, 2, 1
)

// directoryMessage appends to buf the canonical REAPI Directory message of a
// directory with these entries. It does not change entries.
func directoryMessage(buf []byte, m *meta, entries []node) []byte {
	order := byTreeName(entries)
	for _, of := range []struct {
		field int
		write func([]byte, *node) []byte
		holds func(Kind) bool
	}{
		{dirFiles, fileNode, func(k Kind) bool { return k != KindDir && k != KindSymlink }},
		{dirDirs, directoryNode, func(k Kind) bool { return k == KindDir }},
		{dirLinks, symlinkNode, func(k Kind) bool { return k == KindSymlink }},
	} {
		for _, i := range order {
			if n := &entries[i]; of.holds(n.meta.kind) {
				buf = appendMessage(buf, of.field, func(b []byte) []byte { return of.write(b, n) })
			}
		}
	}
	return appendProps(buf, dirProps, m)
}

// fileRootMessage is the message of a ware that is one file.
func fileRootMessage(buf []byte, file *node) []byte {
	named := *file
	named.name = "file"
	buf = appendMessage(buf, dirFiles, func(b []byte) []byte { return fileNode(b, &named) })
	return appendMessage(buf, dirProps, func(b []byte) []byte { return appendProp(b, propRoot, "file") })
}

// byTreeName returns the indexes of entries, sorted by their name in the message.
func byTreeName(entries []node) []int {
	order := make([]int, len(entries))
	escaped := false
	for i := range entries {
		order[i] = i
		escaped = escaped || !utf8.ValidString(entries[i].name)
	}
	less := func(a, b int) int { return strings.Compare(entries[a].name, entries[b].name) }
	if escaped {
		less = func(a, b int) int { return strings.Compare(escape(entries[a].name), escape(entries[b].name)) }
	}
	if !slices.IsSortedFunc(order, less) {
		slices.SortFunc(order, less)
	}
	return order
}

// escape makes s valid UTF-8, as protobuf strings must be, without making two
// names one: each byte that is not part of valid UTF-8 becomes NUL, which no name
// holds, and its two hex digits.
func escape(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			b.WriteByte(0)
			b.WriteString(hex.EncodeToString([]byte{s[i]}))
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

func fileNode(b []byte, n *node) []byte {
	b = appendString(b, fileName, escape(n.name))
	b = appendDigest(b, fileDigest, n.digest)
	if n.meta.mode&0o100 != 0 {
		b = appendVarint(b, fileExecutable, 1)
	}
	return appendProps(b, fileProps, &n.meta)
}

func directoryNode(b []byte, n *node) []byte {
	b = appendString(b, subdirName, escape(n.name))
	return appendDigest(b, subdirDigest, n.digest)
}

func symlinkNode(b []byte, n *node) []byte {
	b = appendString(b, linkName, escape(n.name))
	b = appendString(b, linkTarget, escape(n.meta.link))
	return appendProps(b, linkProps, &n.meta)
}

// appendProps appends the NodeProperties of an entry. What has its default value
// is left out: owner 0:0, mtime 2010-01-01T00:00:00Z, a symlink's mode.
func appendProps(b []byte, field int, m *meta) []byte {
	if m.kind == KindSymlink && m.uid == 0 && m.gid == 0 && m.sec == defaultTime && m.nsec == 0 {
		return b
	}
	return appendMessage(b, field, func(b []byte) []byte {
		if m.kind == KindBlock || m.kind == KindChar {
			b = appendProp(b, propDevice, strconv.FormatUint(uint64(m.major), 10)+":"+strconv.FormatUint(uint64(m.minor), 10))
		}
		if m.gid != 0 {
			b = appendProp(b, propGID, strconv.FormatUint(uint64(m.gid), 10))
		}
		switch m.kind {
		case KindFifo:
			b = appendProp(b, propType, "fifo")
		case KindBlock:
			b = appendProp(b, propType, "block")
		case KindChar:
			b = appendProp(b, propType, "char")
		}
		if m.uid != 0 {
			b = appendProp(b, propUID, strconv.FormatUint(uint64(m.uid), 10))
		}
		if m.sec != defaultTime || m.nsec != 0 {
			b = appendMessage(b, propsMtime, func(b []byte) []byte {
				return appendVarint(appendVarint(b, timeSeconds, uint64(m.sec)), timeNanos, uint64(m.nsec))
			})
		}
		if m.kind != KindSymlink {
			b = appendMessage(b, propsMode, func(b []byte) []byte { return appendVarint(b, uint32Wrapped, uint64(m.mode)) })
		}
		return b
	})
}

func appendProp(b []byte, name, value string) []byte {
	return appendMessage(b, propsNamed, func(b []byte) []byte {
		return appendString(appendString(b, propName, name), propValue, value)
	})
}

func appendDigest(b []byte, field int, d digest) []byte {
	return appendMessage(b, field, func(b []byte) []byte {
		b = append(b, digestHash<<3|2, 2*sha256.Size)
		b = hex.AppendEncode(b, d.sum[:])
		return appendVarint(b, digestSize, uint64(d.size))
	})
}

// appendMessage appends an embedded message, also an empty one.
func appendMessage(b []byte, field int, write func([]byte) []byte) []byte {
	b = append(b, byte(field<<3|2), 0)
	start := len(b)
	b = write(b)
	size := len(b) - start
	if size < 0x80 {
		b[start-1] = byte(size)
		return b
	}
	// The length needs more than the byte left for it.
	var varint [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(varint[:], uint64(size))
	b = append(b, varint[1:n]...)
	copy(b[start+n-1:], b[start:start+size])
	copy(b[start-1:], varint[:n])
	return b
}

func appendString(b []byte, field int, s string) []byte {
	if s == "" {
		return b
	}
	b = append(b, byte(field<<3|2))
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// appendVarint appends a number, leaving out 0 as proto3 does.
func appendVarint(b []byte, field int, v uint64) []byte {
	if v == 0 {
		return b
	}
	return binary.AppendUvarint(append(b, byte(field<<3)), v)
}
