// Package archive unpacks archives into the warehouse: it reads their formats and
// compressions, and package pack's Builder makes filesets of their entries. It is apart
// from pack because the executor needs none of the decompressors.
package archive

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/xi2/xz"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// ErrFormat says that something is no archive that Unpack can read.
var ErrFormat = errors.New("neither zip nor tar, plain or compressed by gzip, bzip2, xz or zstd")

// Unpack unpacks r into the warehouse: a zip archive, or a tar archive, plain or
// compressed by gzip, bzip2, xz or zstd, recognised by its content. A zip archive may
// have something before it if o.Name ends in ".zip" and r is a file. The error matches ErrFormat if it is
// none of these; any other names the archive, and the entry where there is one.
// Whatever the archive says, nothing outside the fileset is written, and nothing is
// left after an error.
func Unpack(ctx context.Context, l *warehouse.Local, r io.Reader, o pack.BuildOptions) (warehouse.Record, error) {
	rec, err := unpack(ctx, l, r, o)
	if err != nil {
		return warehouse.Record{}, fmt.Errorf("unpack %s: %w", o.Name, err)
	}
	return rec, nil
}

func unpack(ctx context.Context, l *warehouse.Local, r io.Reader, o pack.BuildOptions) (rec warehouse.Record, err error) {
	file, err := section(r)
	if err != nil {
		return rec, err
	}
	if file != nil {
		r = file
	}
	in := bufio.NewReaderSize(r, 64<<10)
	if head, _ := in.Peek(len(zipHeaderMagic)); startsZip(head) {
		if file == nil {
			return unzipStream(ctx, l, in, o)
		}
		return unzip(ctx, l, file, file.Size(), o)
	}
	packed := &counter{r: in}
	o.Packed = packed.n.Load
	tar, stop, err := open(packed)
	if errors.Is(err, ErrFormat) && file != nil && strings.EqualFold(path.Ext(o.Name), ".zip") {
		// Something may come before it, such as a program that unpacks it.
		return unzip(ctx, l, file, file.Size(), o)
	}
	if err != nil {
		return rec, err
	}
	defer stop()
	b, err := pack.NewBuilder(ctx, l, o)
	if err != nil {
		return rec, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if err := untar(b, tar, maxTail); err != nil {
		return rec, err
	}
	return b.Commit()
}

// A counter counts what is read, for the ratio.
type counter struct {
	r io.Reader
	n atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// maxTail is how many bytes may follow a tar archive's end mark: more than any
// blocking factor pads with.
const maxTail = 64 << 20

// maxWindow is what a decompressor may be made to remember: the window of zstd --long,
// and eight times that of -19.
const maxWindow = 128 << 20

// A magic is how one kind of compressed stream begins.
type magic struct {
	bytes string
	open  func(io.Reader) (io.Reader, func(), error)
}

// magics are how compressed streams begin: RFC 1952, bzip2's and xz's file formats,
// RFC 8878.
var magics = []magic{
	{"\x1f\x8b", func(r io.Reader) (io.Reader, func(), error) {
		z, err := gzip.NewReader(r)
		return z, func() {}, err
	}},
	{"BZh", func(r io.Reader) (io.Reader, func(), error) { return bzip2.NewReader(r), func() {}, nil }},
	{"\xfd7zXZ\x00", func(r io.Reader) (io.Reader, func(), error) {
		// Twice the dictionary of xz -9. The reader allocates what the stream says.
		z, err := xz.NewReader(r, 128<<20)
		return z, func() {}, err
	}},
	{"\x28\xb5\x2f\xfd", func(r io.Reader) (io.Reader, func(), error) {
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}},
}

// open returns the tar stream in r, and a function that ends reading it.
func open(r io.Reader) (io.Reader, func(), error) {
	in := bufio.NewReaderSize(r, 64<<10)
	z, closeZ, err := decompress(in)
	if err != nil {
		return nil, nil, err
	}
	if z == nil {
		if !isTar(in) {
			return nil, nil, unreadable(in)
		}
		return in, func() {}, nil
	}
	tar, stop := z, func() {}
	if _, does := z.(*zstd.Decoder); !does { // that reads ahead itself
		tar, stop = ahead(z)
	}
	inner := bufio.NewReaderSize(tar, 1<<10)
	_, err = inner.Peek(1)
	if err == nil || errors.Is(err, io.EOF) {
		err = nil
		if !isTar(inner) {
			err = ErrFormat
		}
	}
	if err != nil {
		stop()
		closeZ()
		return nil, nil, err
	}
	return inner, func() { stop(); closeZ() }, nil
}

// Decompress returns what is in r when it is compressed by gzip, bzip2, xz or zstd,
// recognised by its content, else what is in r as it is. The function ends reading.
func Decompress(r io.Reader) (io.Reader, func(), error) {
	in := bufio.NewReaderSize(r, 64<<10)
	z, closeZ, err := decompress(in)
	if z == nil && err == nil {
		return in, func() {}, nil
	}
	return z, closeZ, err
}

// Compressed reports whether Decompress would take what begins with head, at least six
// bytes, for compressed.
func Compressed(head []byte) bool {
	return slices.ContainsFunc(magics, func(m magic) bool { return bytes.HasPrefix(head, []byte(m.bytes)) })
}

// decompress is Decompress, and returns nil for what is not compressed.
func decompress(in *bufio.Reader) (io.Reader, func(), error) {
	for _, m := range magics {
		// A short file fails to peek and is then taken as it is.
		if head, _ := in.Peek(len(m.bytes)); string(head) == m.bytes {
			return m.open(in)
		}
	}
	return nil, nil, nil
}

// others are what archives kiln cannot read begin with.
var others = map[string]string{
	"\x04\x22\x4d\x18": "compressed by lz4", "LZIP": "compressed by lzip", "\x1f\x9d": "compressed by compress",
	"\x5d\x00\x00": "compressed by lzma", "7z\xbc\xaf": "a 7z archive", "Rar!": "a rar archive", "!<arch>\n": "an ar archive",
	"0707": "a cpio archive", "MSCF": "a cabinet",
}

// unreadable is ErrFormat, with what in is where that can be told.
func unreadable(in *bufio.Reader) error {
	for magic, what := range others {
		if head, _ := in.Peek(len(magic)); string(head) == magic {
			return fmt.Errorf("it is %s: %w", what, ErrFormat)
		}
	}
	return ErrFormat
}

// isTar reports whether r begins as a tar archive does: with a header whose checksum
// holds, or with the zeros that end one.
func isTar(r *bufio.Reader) bool {
	h, err := r.Peek(512)
	if err != nil {
		return len(h) > 0 && !errors.Is(err, io.EOF) // let the reading of it tell
	}
	if bytes.Count(h, []byte{0}) == len(h) {
		return true
	}
	// POSIX.1-2024, pax, ustar: octal at 148, the sum with it taken as spaces.
	sum, want := 8*int(' '), 0
	for i, c := range h {
		if i < 148 || i >= 156 {
			sum += int(c)
		} else if c >= '0' && c <= '7' {
			want = want*8 + int(c-'0')
		}
	}
	return sum == want
}
