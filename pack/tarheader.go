package pack

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strings"
)

func archiveError(name string, err error) error {
	if name == "" {
		return err
	}
	return &EntryError{name, err}
}

// tailReader counts the zero bytes that end what has been read.
type tailReader struct {
	r     io.Reader
	zeros int
}

func (t *tailReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	i := n
	for i > 0 && p[i-1] == 0 {
		i--
	}
	if i > 0 {
		t.zeros = 0
	}
	t.zeros += n - i
	return n, err
}

// components splits an entry's name and drops the leading ones. It returns nil for
// an entry that is dropped, and an empty path for the root.
func (u *unpacker) components(name string) ([]string, error) {
	if strings.HasPrefix(name, "/") {
		return nil, errors.New("its path is absolute")
	}
	path := []string{}
	for c := range strings.SplitSeq(name, "/") {
		switch c {
		case "", ".":
		case "..":
			return nil, errors.New(`its path has ".." in it`)
		default:
			path = append(path, c)
		}
	}
	if u.o.Strip > 0 && len(path) <= u.o.Strip {
		return nil, nil
	}
	return path[u.o.Strip:], nil
}

func metaOfHeader(h *tar.Header) (meta, error) {
	m := meta{
		mode: uint32(h.Mode & 0o7777), uid: uint32(h.Uid), gid: uint32(h.Gid),
		sec: h.ModTime.Unix(), nsec: uint32(h.ModTime.Nanosecond()),
	}
	switch h.Typeflag {
	case tar.TypeReg, '\x00', tar.TypeCont, tar.TypeGNUSparse, tar.TypeLink:
		m.kind = kindFile
	case tar.TypeDir:
		m.kind = kindDir
	case tar.TypeSymlink:
		m.kind, m.mode, m.link = kindSymlink, 0o777, h.Linkname
	case tar.TypeFifo:
		m.kind = kindFifo
	case tar.TypeBlock:
		m.kind = kindBlock
	case tar.TypeChar:
		m.kind = kindChar
	default:
		return m, fmt.Errorf("it is of unknown type %q", h.Typeflag)
	}
	if m.kind == kindBlock || m.kind == kindChar {
		m.major, m.minor = uint32(h.Devmajor), uint32(h.Devminor)
	}
	if int64(m.uid) != int64(h.Uid) || int64(m.gid) != int64(h.Gid) {
		return m, fmt.Errorf("its owner %d:%d is out of range", h.Uid, h.Gid)
	}
	return m, nil
}
