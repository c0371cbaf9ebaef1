package pack

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
)

// indexDirs finds Directory messages, each behind its length, by the hash of each.
// The last one is the root.
func indexDirs(data []byte) (root string, dirs map[string][]byte, err error) {
	dirs = map[string][]byte{}
	for len(data) > 0 {
		size, n := binary.Uvarint(data)
		if n <= 0 || size > uint64(len(data)-n) {
			return "", nil, errWire
		}
		msg := data[n : n+int(size)]
		data = data[n+int(size):]
		sum := sha256.Sum256(msg)
		root = hex.EncodeToString(sum[:])
		dirs[root] = msg
	}
	return root, dirs, nil
}

// decodeDirectory undoes directoryMessage and fileRootMessage.
func decodeDirectory(msg []byte) (m meta, nodes []node, err error) {
	m = meta{kind: KindDir, sec: defaultTime}
	err = fields(msg, func(field int, b []byte, _ uint64) error {
		if field == dirProps {
			return decodeProps(b, &m)
		}
		kind := map[int]Kind{dirFiles: KindFile, dirDirs: KindDir, dirLinks: KindSymlink}[field]
		if kind == 0 {
			return errWire
		}
		n, err := decodeNode(kind, b)
		nodes = append(nodes, n)
		return err
	})
	return m, nodes, err
}

func decodeNode(kind Kind, msg []byte) (node, error) {
	n := node{meta: meta{kind: kind, sec: defaultTime}}
	if kind == KindSymlink {
		n.meta.mode = 0o777
	}
	err := fields(msg, func(field int, b []byte, _ uint64) (err error) {
		switch {
		case field == fileName: // of all three nodes
			n.name, err = unescape(string(b))
		case kind == KindSymlink && field == linkTarget:
			n.meta.link, err = unescape(string(b))
		case kind == KindSymlink && field == linkProps, kind == KindFile && field == fileProps:
			err = decodeProps(b, &n.meta)
		case kind != KindSymlink && field == fileDigest: // and subdirDigest
			n.digest, err = decodeDigest(b)
		}
		return err
	})
	if err == nil && (n.name == "" || n.name == "." || n.name == ".." || strings.Contains(n.name, "/")) {
		err = errWire
	}
	return n, err
}

func decodeDigest(msg []byte) (d digest, err error) {
	err = fields(msg, func(field int, b []byte, v uint64) error {
		switch field {
		case digestHash:
			if len(b) != hex.EncodedLen(len(d.sum)) {
				return errWire
			}
			_, err := hex.Decode(d.sum[:], b)
			return err
		case digestSize:
			d.size = int64(v)
		}
		return nil
	})
	return d, err
}

// decodeProps undoes appendProps.
func decodeProps(msg []byte, m *meta) error {
	return fields(msg, func(field int, b []byte, _ uint64) error {
		switch field {
		case propsNamed:
			return decodeProp(b, m)
		case propsMtime:
			m.sec, m.nsec = 0, 0
			return fields(b, func(field int, _ []byte, v uint64) error {
				if field == timeSeconds {
					m.sec = int64(v)
				} else if m.nsec = uint32(v); v >= 1e9 {
					return errWire
				}
				return nil
			})
		case propsMode:
			return fields(b, func(_ int, _ []byte, v uint64) error {
				if m.mode = uint32(v); v > 0o7777 {
					return errWire
				}
				return nil
			})
		}
		return errWire
	})
}

func decodeProp(msg []byte, m *meta) (err error) {
	var name, value string
	if err := fields(msg, func(field int, b []byte, _ uint64) error {
		if field == propName {
			name = string(b)
		} else {
			value = string(b)
		}
		return nil
	}); err != nil {
		return err
	}
	number := func(s string) uint32 {
		n, numErr := strconv.ParseUint(s, 10, 32)
		if numErr != nil {
			err = errWire
		}
		return uint32(n)
	}
	switch name {
	case propUID:
		m.uid = number(value)
	case propGID:
		m.gid = number(value)
	case propDevice:
		major, minor, _ := strings.Cut(value, ":")
		m.major, m.minor = number(major), number(minor)
	case propType:
		if m.kind = map[string]Kind{"fifo": KindFifo, "block": KindBlock, "char": KindChar}[value]; m.kind == 0 {
			return errWire
		}
	case propRoot:
	default:
		return errWire
	}
	return err
}
