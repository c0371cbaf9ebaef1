package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// A Format is what Write can write.
type Format struct {
	Zip         bool        // else tar
	Compression Compression // of tar
	// File lets Write write a ware that is one file, as a tar archive whose root is
	// that file: only kiln and rio unpack it.
	File bool
}

// suffixes are by what formats are known in file names.
var suffixes = []struct {
	suffix string
	Format
}{
	{".tar", Format{}},
	{".tar.gz", Format{Compression: Gzip}},
	{".tgz", Format{Compression: Gzip}},
	{".tar.zst", Format{Compression: Zstd}},
	{".tzst", Format{Compression: Zstd}},
	{".zip", Format{Zip: true}},
}

// FormatOf tells the format from the end of a file's name.
func FormatOf(name string) (Format, bool) {
	for _, s := range suffixes {
		if strings.HasSuffix(name, s.suffix) && name != s.suffix {
			return s.Format, true
		}
	}
	return Format{}, false
}

// ErrFile says that a ware that is one file was to become an archive: unpacked, that
// would be a directory with the file in it, another ware.
var ErrFile = errors.New("it is one file, not a directory, and an archive of it would be another ware")

// Write writes a ware of the local warehouse to w as an archive. Two archives of
// one ware in one format have the same bytes, whoever writes them, and unpacking one
// gives the ware again: entries are sorted, owners numeric, metadata is what the ware
// has. Content is checked against the ware's id as it is read: the error matches
// pack.ErrCorrupt if it was changed on disk, and what was written then is of no use.
func Write(ctx context.Context, l *warehouse.Local, id warehouse.WareID, w io.Writer, f Format) error {
	c, err := pack.OpenContents(ctx, l, id)
	if err != nil {
		return err
	}
	if c.Record.File && (f.Zip || !f.File) {
		return fmt.Errorf("write ware %s: %w", id, ErrFile)
	}
	if f.Zip {
		zw := newZipWriter(w)
		if err := c.Walk(zw.Add); err != nil {
			_ = zw.Close() // ends compressing
			return err
		}
		return zw.Close()
	}
	return writeTar(c, w, f.Compression)
}

func writeTar(c *pack.Contents, w io.Writer, comp Compression) error {
	z, err := NewCompressor(w, comp)
	if err != nil {
		return err
	}
	tw := NewTarWriter(z)
	err = c.Walk(func(e *pack.Entry, content io.Reader) error {
		if c.Record.File {
			e.Path = "."
		}
		return tw.Add(e, content)
	})
	if err == nil {
		err = tw.Close()
	}
	return errors.Join(err, z.Close())
}
