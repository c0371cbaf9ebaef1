package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kilnbuild/kiln/pack"
)

// untar adds the entries of a tar stream to b. It reads r to its end.
func untar(b *pack.Builder, r io.Reader, maxTail int64) error {
	tail := &tailReader{r: r}
	tr := tar.NewReader(tail)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err == nil && h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if err == nil {
			err = addHeader(b, h, tr)
		} else if err == io.ErrUnexpectedEOF {
			err = errors.New("the archive is truncated")
		}
		if err != nil {
			return err
		}
	}
	if tail.zeros < 512 {
		return errors.New("the archive is truncated: it has no end mark")
	}
	// The rest is padding, but a checksum of the whole may be behind it.
	n, err := io.Copy(io.Discard, io.LimitReader(r, maxTail+1))
	if err == nil && n > maxTail {
		err = errors.New("too much follows its end mark")
	}
	return err
}

func addHeader(b *pack.Builder, h *tar.Header, content io.Reader) error {
	e, err := EntryOf(h)
	if err != nil {
		return &pack.EntryError{Path: h.Name, Err: err}
	}
	return b.Add(&e, content)
}

// kinds are the types of tar's headers.
var kinds = map[byte]pack.Kind{
	tar.TypeReg: pack.KindFile, '\x00': pack.KindFile, tar.TypeCont: pack.KindFile, tar.TypeGNUSparse: pack.KindFile,
	tar.TypeLink: pack.KindHardlink, tar.TypeDir: pack.KindDir, tar.TypeSymlink: pack.KindSymlink,
	tar.TypeFifo: pack.KindFifo, tar.TypeBlock: pack.KindBlock, tar.TypeChar: pack.KindChar,
}

// EntryOf is the entry that h describes. The error says what is wrong with it, without
// its name.
func EntryOf(h *tar.Header) (pack.Entry, error) {
	e := pack.Entry{
		Path: h.Name, Kind: kinds[h.Typeflag], Mode: uint32(h.Mode & 0o7777),
		UID: uint32(h.Uid), GID: uint32(h.Gid), Link: h.Linkname, Size: h.Size,
		Sec: h.ModTime.Unix(), Nsec: uint32(h.ModTime.Nanosecond()),
		Major: uint32(h.Devmajor), Minor: uint32(h.Devminor),
	}
	if e.Kind == 0 {
		return e, fmt.Errorf("it is of unknown type %q", h.Typeflag)
	}
	if int64(e.UID) != int64(h.Uid) || int64(e.GID) != int64(h.Gid) {
		return e, fmt.Errorf("its owner %d:%d is out of range", h.Uid, h.Gid)
	}
	for key := range h.PAXRecords {
		e.Xattrs = e.Xattrs || strings.HasPrefix(key, "SCHILY.xattr.")
	}
	return e, nil
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
