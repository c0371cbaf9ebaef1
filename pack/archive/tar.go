package archive

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kilnbuild/kiln/pack"
)

// untar adds the entries of a tar stream to b. It reads r to its end. The error matches
// ErrFormat if there are no entries and it is no empty archive either.
func untar(b *pack.Builder, r io.Reader, maxTail int64) error {
	in := &tarReader{r: r}
	tr := tar.NewReader(in)
	for entries := 0; ; entries++ {
		before := in.read
		h, err := tr.Next()
		if err == io.EOF {
			return in.end(in.read-before, entries, maxTail)
		}
		if err == nil && h.Typeflag == tar.TypeXGlobalHeader {
			err = checkGlobal(h)
		} else if err == nil {
			err = addHeader(b, h, tr)
		} else if err == io.ErrUnexpectedEOF {
			err = errors.New("the archive is truncated")
		}
		if err == nil {
			// What is left out of the ware is read as well: before the end mark.
			_, err = io.Copy(io.Discard, tr)
		}
		if err != nil {
			return err
		}
	}
}

// A tarReader counts what is read, and the zeros that it ends with.
type tarReader struct {
	r           io.Reader
	read, zeros int64
}

func (t *tarReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	t.read += int64(n)
	i := n
	for i > 0 && p[i-1] == 0 {
		i--
	}
	if i > 0 {
		t.zeros = 0
	}
	t.zeros += int64(n - i)
	return n, err
}

const block = 512

// end checks how the archive ends. Behind the last entry n bytes were read: what pads
// its content, less than a block, and the end mark, two blocks of zeros.
func (t *tarReader) end(n int64, entries int, maxTail int64) error {
	if min(n, t.zeros) < 2*block {
		return errors.New("the archive is truncated: it has no end mark")
	}
	// The rest is padding, but a checksum of the whole may be behind it.
	tail := &zeroWriter{}
	n, err := io.Copy(tail, io.LimitReader(t.r, maxTail+1))
	switch {
	case (tail.other || n > maxTail) && entries == 0:
		return ErrFormat // a disk, say, that begins with zeros
	case tail.other || err == nil && n > maxTail:
		return errors.New("something follows its end mark")
	}
	return err
}

// A zeroWriter tells whether all that is written to it is zeros.
type zeroWriter struct{ other bool }

func (z *zeroWriter) Write(p []byte) (int, error) {
	if bytes.Count(p, []byte{0}) != len(p) {
		z.other = true
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

// checkGlobal refuses a global header that says something of the entries behind it:
// that has no place in rio's ids. Most, such as git's, are a comment.
func checkGlobal(h *tar.Header) error {
	for key := range h.PAXRecords {
		switch key {
		case "path", "linkpath", "size", "uid", "gid", "mtime":
			return fmt.Errorf("a global header sets %s for all entries, which kiln does not support", key)
		}
	}
	return nil
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
