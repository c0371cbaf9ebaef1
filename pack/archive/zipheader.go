package archive

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
)

// Signatures and sizes of APPNOTE.TXT, sections 4.3.7 to 4.3.16.
const (
	zipHeaderMagic  = "PK\x03\x04"
	zipEndMagic     = "PK\x05\x06"
	zipEnd64Magic   = "PK\x06\x06"
	zipEnd64AtMagic = "PK\x06\x07"

	zipHeaderSize  = 30
	zipEndSize     = 22
	zipEnd64AtSize = 20
	maxZipComment  = 1<<16 - 1
)

// zipEnd is what the end of a zip archive says of its central directory.
type zipEnd struct {
	entries   uint64
	directory int64 // where it begins
}

// findZipEnd finds the end of a zip archive, behind which there may be a comment. The
// error matches ErrFormat if there is none.
func findZipEnd(r io.ReaderAt, size int64) (end zipEnd, err error) {
	tail := make([]byte, min(size, zipEndSize+maxZipComment))
	if _, err := r.ReadAt(tail, size-int64(len(tail))); err != nil && err != io.EOF {
		return end, err
	}
	at := len(tail) - zipEndSize
	for ; at >= 0; at-- {
		e := tail[at:]
		if string(e[:4]) == zipEndMagic && int(binary.LittleEndian.Uint16(e[20:])) <= len(e)-zipEndSize {
			break
		}
	}
	if at < 0 {
		return end, ErrFormat
	}
	e, pos := tail[at:], size-int64(len(tail)-at)
	end.entries = uint64(binary.LittleEndian.Uint16(e[10:]))
	length := uint64(binary.LittleEndian.Uint32(e[12:]))
	var big [56]byte
	if where := at - zipEnd64AtSize; where >= 0 && string(tail[where:where+4]) == zipEnd64AtMagic {
		// Its offset is that in an archive with nothing before it.
		for _, guess := range []int64{int64(binary.LittleEndian.Uint64(tail[where+8:])), pos - zipEnd64AtSize - int64(len(big))} {
			if n, _ := r.ReadAt(big[:], guess); guess >= 0 && n == len(big) && string(big[:4]) == zipEnd64Magic {
				end.entries = binary.LittleEndian.Uint64(big[32:])
				length, pos = binary.LittleEndian.Uint64(big[40:]), guess
				break
			}
		}
	}
	if length > uint64(pos) || end.entries > length/46 { // the least that an entry takes there
		return end, errors.New("its central directory is damaged")
	}
	end.directory = pos - int64(length)
	return end, nil
}

// A headerReader counts what is read, and keeps the header before an entry when
// the zip reader reads it: that package does not tell where it is.
type headerReader struct {
	r         io.ReaderAt
	n         atomic.Int64
	directory int64 // where the entries end
	seen      bool
	at        int64
	header    [zipHeaderSize]byte
}

func (h *headerReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := h.r.ReadAt(p, off)
	h.n.Add(int64(n))
	if n == zipHeaderSize && string(p[:4]) == zipHeaderMagic && off < h.directory {
		h.seen, h.at = true, off
		copy(h.header[:], p)
	}
	return n, err
}

const (
	flagEncrypted  = 1 << 0
	flagDescriptor = 1 << 3 // sizes and checksum are behind the content
	zip64Extra     = 1
)

// sameAs checks that the header seen last says of f what the central directory says.
func (h *headerReader) sameAs(f *zip.File) error {
	u16 := func(at int) uint16 { return binary.LittleEndian.Uint16(h.header[at:]) }
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(h.header[at:]) }
	rest := make([]byte, int(u16(26))+int(u16(28)))
	if _, err := h.r.ReadAt(rest, h.at+zipHeaderSize); err != nil {
		return err
	}
	name, extra := rest[:u16(26)], rest[u16(26):]
	if string(name) != f.Name {
		return fmt.Errorf("it is called %q in the header before it", name)
	}
	flags := u16(6)
	if (flags^f.Flags)&flagEncrypted != 0 || u16(8) != f.Method {
		return errors.New("the header before it says that it is packed in another way")
	}
	packed, size, sum := uint64(u32(18)), uint64(u32(22)), u32(14)
	if field := extraField(extra, zip64Extra); len(field) >= 16 && (size == 1<<32-1 || packed == 1<<32-1) {
		size, packed = binary.LittleEndian.Uint64(field), binary.LittleEndian.Uint64(field[8:])
	}
	for _, v := range [][2]uint64{{packed, f.CompressedSize64}, {size, f.UncompressedSize64}, {uint64(sum), uint64(f.CRC32)}} {
		// Who writes to a pipe does not know them yet.
		if v[0] != v[1] && (v[0] != 0 || flags&flagDescriptor == 0) {
			return errors.New("the header before it has another size or checksum")
		}
	}
	return nil
}

// extraField returns the extra field with this id, nil if there is none.
func extraField(extra []byte, id uint16) []byte {
	for len(extra) >= 4 {
		field, size := binary.LittleEndian.Uint16(extra), int(binary.LittleEndian.Uint16(extra[2:]))
		if len(extra) < 4+size {
			return nil
		}
		if field == id {
			return extra[4 : 4+size]
		}
		extra = extra[4+size:]
	}
	return nil
}

// IsZip reports whether r begins as a zip archive does.
func IsZip(r io.ReaderAt) bool {
	head := make([]byte, len(zipHeaderMagic))
	n, _ := r.ReadAt(head, 0)
	return startsZip(head[:n])
}

// startsZip reports whether something begins as a zip archive does.
func startsZip(head []byte) bool {
	return bytes.HasPrefix(head, []byte(zipHeaderMagic)) || bytes.HasPrefix(head, []byte(zipEndMagic))
}
