package archive

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"runtime"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/flate"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/pack"
)

// A zipWriter writes a zip archive with Unix modes, owners and times in whole seconds. What
// zip cannot say is an error, so that what is read is what was written.
type zipWriter struct {
	zw  *zip.Writer
	buf []byte
}

func newZipWriter(w io.Writer) *zipWriter {
	z := &zipWriter{zip.NewWriter(w), make([]byte, 256<<10)}
	z.zw.RegisterCompressor(zip.Deflate, newDeflater)
	return z
}

// Add writes one entry, and for a file all of content, which has e.Size bytes.
func (z *zipWriter) Add(e *pack.Entry, content io.Reader) error {
	if err := zipHolds(e); err != nil {
		return err
	}
	if e.Path == "." && e.Mode == 0o755 && e.UID == 0 && e.GID == 0 && e.Sec == plainTime && e.Nsec == 0 {
		return nil // as it is where nothing is said
	}
	h := zipHeader(e)
	if e.Kind == pack.KindFile && e.Size > 0 {
		h.Method = zip.Deflate
		w, err := z.zw.CreateHeader(h)
		if err != nil {
			return err
		}
		n, err := io.CopyBuffer(onlyWriter{w}, content, z.buf)
		if err == nil && n != e.Size {
			err = fmt.Errorf("its content has %d bytes, not %d", n, e.Size)
		}
		return err
	}
	if content != nil { // nothing, which is to be checked as well
		if _, err := io.Copy(io.Discard, content); err != nil {
			return err
		}
	}
	h.CRC32 = crc32.ChecksumIEEE([]byte(e.Link))
	h.UncompressedSize64, h.CompressedSize64 = uint64(len(e.Link)), uint64(len(e.Link))
	w, err := z.zw.CreateRaw(h)
	if err == nil {
		_, err = io.WriteString(w, e.Link)
	}
	return err
}

// Close writes the archive's directory. It does not close what is written to.
func (z *zipWriter) Close() error { return z.zw.Close() }

// plainTime is the mtime of wares unless a filter keeps others: 2010-01-01.
const plainTime = 1262304000

// ErrZip says that a ware has something that zip cannot hold.
var ErrZip = errors.New("zip cannot hold that: write a tar archive")

func zipHolds(e *pack.Entry) error {
	switch {
	case !utf8.ValidString(e.Path):
		return fmt.Errorf("its name is not UTF-8: %w", ErrZip)
	case len(e.Path) >= math.MaxUint16:
		return fmt.Errorf("its path has %d bytes: %w", len(e.Path), ErrZip)
	case e.Nsec != 0 || e.Sec < 0 || e.Sec > math.MaxInt32:
		return fmt.Errorf("its mtime %s is not in whole seconds from 1970 to 2038: %w, or pack it without mtime=keep",
			time.Unix(e.Sec, int64(e.Nsec)).UTC().Format(time.RFC3339Nano), ErrZip)
	}
	switch e.Kind {
	case pack.KindFile, pack.KindDir, pack.KindSymlink:
		return nil
	}
	return fmt.Errorf("it is a named pipe or a device: %w", ErrZip)
}

// zipHeader says what APPNOTE 6.3.10 and Info-ZIP's extra fields can of an entry.
func zipHeader(e *pack.Entry) *zip.FileHeader {
	const version = 20
	h := &zip.FileHeader{Name: e.Path, Method: zip.Store, CreatorVersion: madeByUnix<<8 | version, ReaderVersion: version}
	mode := e.Mode
	switch e.Kind {
	case pack.KindDir:
		h.Name += "/"
		mode |= unix.S_IFDIR
		h.ExternalAttrs = 0x10 // MS-DOS's bit for directories
	case pack.KindSymlink:
		mode |= unix.S_IFLNK
	default:
		mode |= unix.S_IFREG
	}
	h.ExternalAttrs |= mode << 16
	if !ascii(h.Name) {
		h.Flags |= 0x800 // the name is UTF-8
	}
	t := time.Unix(e.Sec, 0).UTC()
	if t.Year() < 1980 {
		t = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	day, clock := t.Day()+int(t.Month())<<5+(t.Year()-1980)<<9, t.Second()/2+t.Minute()<<5+t.Hour()<<11
	//lint:ignore SA1019 CreateRaw knows no other time
	h.ModifiedDate, h.ModifiedTime = uint16(day), uint16(clock)
	le := binary.LittleEndian
	// "UT", the extended timestamp: of its three times the mtime.
	h.Extra = le.AppendUint16(le.AppendUint16(h.Extra, 0x5455), 5)
	h.Extra = le.AppendUint32(append(h.Extra, 1), uint32(e.Sec))
	// "ux", version 1: two numbers of 4 bytes.
	h.Extra = le.AppendUint16(le.AppendUint16(h.Extra, extraOwner), 11)
	h.Extra = le.AppendUint32(append(h.Extra, 1, 4), e.UID)
	h.Extra = le.AppendUint32(append(h.Extra, 4), e.GID)
	return h
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f {
			return false
		}
	}
	return true
}

var flatePool = sync.Pool{New: func() any {
	w, err := flate.NewWriter(nil, gzipLevel)
	if err != nil {
		panic(err) // the level is a constant
	}
	return w
}}

// newDeflater compresses block by block, several at once. A flush ends each on a byte,
// RFC 1951, section 3.2.4, so that blocks can be put together.
func newDeflater(w io.Writer) (io.WriteCloser, error) {
	return &deflater{newBlockWriter(w, gzipBlock, min(runtime.GOMAXPROCS(0), maxWorkers), func(block, dst []byte) []byte {
		z := flatePool.Get().(*flate.Writer)
		defer flatePool.Put(z)
		out := bytes.NewBuffer(dst)
		z.Reset(out)
		_, _ = z.Write(block) // to a buffer, so without errors
		_ = z.Flush()
		return out.Bytes()
	}), w}, nil
}

type deflater struct {
	*blockWriter
	w io.Writer
}

func (d *deflater) Close() error {
	if err := d.blockWriter.Close(); err != nil {
		return err
	}
	_, err := d.w.Write([]byte{3, 0}) // the last block, empty
	return err
}
