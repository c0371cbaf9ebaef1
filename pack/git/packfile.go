package git

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// A packFile is a pack with its index. It is read by offset: a pack that is removed
// or cut short meanwhile is an error like any other.
type packFile struct {
	*index
	name string // of the pack, without its ending
	pack *os.File
	end  int64 // where its checksum begins
}

const packHead = 12 // "PACK", version, number of objects

func openPack(idx string, size int) (*packFile, error) {
	x, err := openIndex(idx, size)
	if err != nil {
		return nil, err
	}
	p := &packFile{index: x, name: strings.TrimSuffix(idx, ".idx")}
	if err := p.open(); err != nil {
		p.close()
		return nil, fmt.Errorf("pack %s.pack: %w", p.name, err)
	}
	return p, nil
}

func (p *packFile) open() (err error) {
	if p.pack, err = os.Open(p.name + ".pack"); err != nil {
		return err
	}
	info, err := p.pack.Stat()
	if err != nil {
		return err
	}
	p.end = info.Size() - int64(p.size)
	var head [packHead]byte
	if _, err := p.pack.ReadAt(head[:], 0); err != nil || p.end < packHead {
		return errors.New("it is too short")
	}
	n, err := packCount(head)
	if err == nil && int64(n) != p.n {
		err = fmt.Errorf("it has %d objects, its index %d", n, p.n)
	}
	return err
}

// packCount reads how a pack begins.
func packCount(head [packHead]byte) (uint32, error) {
	version := binary.BigEndian.Uint32(head[4:])
	if string(head[:4]) != "PACK" || version != 2 && version != 3 {
		return 0, errors.New("it is no pack of version 2 or 3")
	}
	return binary.BigEndian.Uint32(head[8:]), nil
}

func (p *packFile) close() {
	p.f.Close()
	if p.pack != nil {
		p.pack.Close()
	}
}

// An entry is how an object is kept in a pack.
type entry struct {
	kind   Kind
	size   int64 // of what is compressed: the object, or its delta
	data   int64 // where the compressed data begins
	base   int64 // ofsDelta: where the base begins
	baseID ID    // refDelta
}

var errEntry = errors.New("the header of an object in a pack is damaged")

// parseEntry reads the header at the beginning of b, which is at off.
func parseEntry(b []byte, off int64, size int) (e entry, err error) {
	var c byte
	i := 0
	next := func() bool {
		if i == len(b) {
			return false
		}
		c = b[i]
		i++
		return true
	}
	if !next() {
		return e, errEntry
	}
	e.kind, e.size = Kind(c>>4&7), int64(c&15)
	for shift := 4; c >= 0x80; shift += 7 {
		if !next() || shift > 55 {
			return e, errEntry
		}
		e.size |= int64(c&0x7f) << shift
	}
	switch e.kind {
	case Commit, Tree, Blob, Tag:
	case ofsDelta:
		var back int64
		for first := true; first || c >= 0x80; first = false {
			if !next() || back > off {
				return e, errEntry
			}
			if !first {
				back++
			}
			back = back<<7 | int64(c&0x7f)
		}
		if e.base = off - back; back <= 0 || e.base < packHead {
			return e, errEntry
		}
	case refDelta:
		if len(b)-i < size {
			return e, errEntry
		}
		e.baseID = ID(b[i : i+size])
		i += size
	default:
		return e, errEntry
	}
	e.data = off + int64(i)
	return e, nil
}

// entry reads the header of what is at off, and into f.head what follows it.
func (p *packFile) entry(off int64, f *inflater) (e entry, ahead []byte, err error) {
	if off < packHead || off >= p.end {
		return e, nil, errEntry
	}
	n, err := p.pack.ReadAt(f.head[:min(int64(len(f.head)), p.end-off)], off)
	if err != nil && err != io.EOF {
		return e, nil, err
	}
	if e, err = parseEntry(f.head[:n], off, p.size); err != nil {
		return e, nil, err
	}
	return e, f.head[e.data-off : n], nil
}

// inflate returns what is compressed in e; ahead is what of it was read already.
func (p *packFile) inflate(e entry, f *inflater, ahead []byte, limit int64) ([]byte, error) {
	if e.size > limit {
		return nil, &largeError{e.size, limit}
	}
	// What is as long as this holds the whole stream unless it does not compress.
	if int64(len(ahead)) >= e.size+e.size>>3+64 || e.data+int64(len(ahead)) == p.end {
		f.bytes.Reset(ahead)
		if err := f.reset(&f.bytes); err != nil {
			return nil, err
		}
		return f.all(e.size)
	}
	if err := p.stream(e, f); err != nil {
		return nil, err
	}
	return f.all(e.size)
}

// stream begins to inflate e; the content is what is read from f.z.
func (p *packFile) stream(e entry, f *inflater) error {
	f.in.Reset(io.NewSectionReader(p.pack, e.data, p.end-e.data))
	return f.reset(&f.in)
}
