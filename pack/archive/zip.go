package archive

import (
	"archive/zip"
	"cmp"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// unzip makes a ware of the zip archive r, of size bytes. Its central directory says
// what is in it; where the headers before the entries say anything else, or entries
// share bytes, it is refused: another program would unpack something else.
func unzip(ctx context.Context, l *warehouse.Local, r io.ReaderAt, size int64, o pack.BuildOptions) (rec warehouse.Record, err error) {
	end, err := findZipEnd(r, size)
	if err != nil {
		return rec, err
	}
	// Before the directory is read, which takes memory for each entry.
	if limit := cmp.Or(o.MaxEntries, pack.DefaultMaxEntries); limit > 0 && end.entries > uint64(limit) {
		return rec, fmt.Errorf("it has %d entries, more than the %d allowed", end.entries, limit)
	}
	packed := &headerReader{r: r, directory: end.directory}
	o.Packed = packed.n.Load
	z, err := zip.NewReader(packed, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // the Builder judges paths
		return rec, err
	}
	z.RegisterDecompressor(zip.Deflate, flate.NewReader)
	z.RegisterDecompressor(methodBzip2, func(r io.Reader) io.ReadCloser { return io.NopCloser(bzip2.NewReader(r)) })
	z.RegisterDecompressor(methodZstd, zstd.ZipDecompressor(zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1)))
	if err := checkHeaders(z, packed); err != nil {
		return rec, err
	}
	b, err := pack.NewBuilder(ctx, l, o)
	if err != nil {
		return rec, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	for _, f := range z.File {
		if err := addZipped(b, f); err != nil {
			return rec, err
		}
	}
	return b.Commit()
}

// addZipped adds an entry, and checks that its content is as long as it says.
func addZipped(b *pack.Builder, f *zip.File) error {
	e, err := zipEntry(f)
	if err != nil {
		return &pack.EntryError{Path: f.Name, Err: err}
	}
	if e.Kind != pack.KindFile && e.Kind != pack.KindSymlink {
		return b.Add(&e, nil)
	}
	content, err := f.Open()
	if err != nil {
		return &pack.EntryError{Path: e.Path, Err: err}
	}
	defer content.Close()
	if e.Kind == pack.KindSymlink {
		target := make([]byte, e.Size)
		if _, err := io.ReadFull(content, target); err != nil {
			return &pack.EntryError{Path: e.Path, Err: err}
		}
		e.Link = string(target)
	}
	read := &counter{r: content}
	if err := b.Add(&e, read); err != nil {
		return err
	}
	if e.Kind == pack.KindFile && read.n.Load() < e.Size {
		return nil // it is left out of the ware
	}
	// The checksum is compared at the end.
	switch n, err := content.Read(make([]byte, 1)); {
	case n > 0:
		return &pack.EntryError{Path: e.Path, Err: fmt.Errorf("it holds more than its %d bytes", e.Size)}
	case err != io.EOF:
		return &pack.EntryError{Path: e.Path, Err: err}
	}
	return nil
}

// checkHeaders compares the header before each entry with the central directory, and
// refuses entries that share bytes.
func checkHeaders(z *zip.Reader, r *headerReader) error {
	type span struct {
		from, to int64
		name     string
	}
	spans := make([]span, 0, len(z.File))
	for _, f := range z.File {
		r.seen = false
		data, err := f.DataOffset() // which reads the header before it
		if err == nil && !r.seen {
			err = errors.New("its header was not read")
		}
		if err == nil {
			err = r.sameAs(f)
		}
		end := data + int64(f.CompressedSize64)
		if err == nil && (end < data || end > r.directory) {
			err = fmt.Errorf("its %d bytes at %d reach beyond the archive's entries", f.CompressedSize64, data)
		}
		if err != nil {
			return &pack.EntryError{Path: f.Name, Err: err}
		}
		spans = append(spans, span{r.at, end, f.Name})
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	for i := 1; i < len(spans); i++ {
		if spans[i].from < spans[i-1].to {
			return &pack.EntryError{Path: spans[i].name, Err: fmt.Errorf("it shares bytes with %q: the archive is a bomb", spans[i-1].name)}
		}
	}
	return nil
}
