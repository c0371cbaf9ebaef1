package archive

import (
	"archive/tar"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/kilnbuild/kiln/pack"
)

// A TarWriter writes an uncompressed tar archive that says of each entry exactly what
// it is told: numeric owners and no names, POSIX.1-2001 pax records where ustar has no
// room. What it writes depends on nothing else. Names may be anything.
type TarWriter struct {
	tw  *tar.Writer
	buf []byte
}

// NewTarWriter returns a TarWriter that writes to w.
func NewTarWriter(w io.Writer) *TarWriter {
	return &TarWriter{tw: tar.NewWriter(w), buf: make([]byte, 256<<10)}
}

var tarTypes = map[pack.Kind]byte{
	pack.KindFile: tar.TypeReg, pack.KindDir: tar.TypeDir, pack.KindSymlink: tar.TypeSymlink,
	pack.KindFifo: tar.TypeFifo, pack.KindBlock: tar.TypeBlock, pack.KindChar: tar.TypeChar,
	pack.KindHardlink: tar.TypeLink,
}

// Add writes one entry, and for a file all of content, which has e.Size bytes.
func (t *TarWriter) Add(e *pack.Entry, content io.Reader) error {
	h := tar.Header{
		Typeflag: tarTypes[e.Kind], Name: e.Path, Linkname: e.Link, Mode: int64(e.Mode),
		Uid: int(e.UID), Gid: int(e.GID), ModTime: time.Unix(e.Sec, int64(e.Nsec)),
		Format: tar.FormatPAX,
	}
	switch e.Kind {
	case pack.KindDir:
		h.Name += "/"
	case pack.KindFile:
		h.Size = e.Size
	case pack.KindBlock, pack.KindChar:
		h.Devmajor, h.Devminor = int64(e.Major), int64(e.Minor)
	}
	if !utf8.ValidString(h.Name) || !utf8.ValidString(h.Linkname) {
		// pax(1): else values are UTF-8.
		h.PAXRecords = map[string]string{"hdrcharset": "BINARY"}
	}
	if err := t.tw.WriteHeader(&h); err != nil {
		return err
	}
	if e.Kind != pack.KindFile {
		return nil
	}
	n, err := io.CopyBuffer(onlyWriter{t.tw}, content, t.buf)
	if err == nil && n != e.Size {
		err = fmt.Errorf("its content has %d bytes, not %d", n, e.Size)
	}
	return err
}

// Close writes the archive's end. It does not close what is written to.
func (t *TarWriter) Close() error { return t.tw.Close() }

// onlyWriter keeps io.CopyBuffer to its buffer.
type onlyWriter struct{ io.Writer }
