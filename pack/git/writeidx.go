package git

import (
	"bufio"
	"encoding/binary"
	"io"
	"os"
	"slices"
	"strings"
)

// write writes the index of version 2 of x's objects to path.
func (x *indexer) write(path string, checksum []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	defer func() {
		if closeErr := f.Close(); err == nil {
			err = closeErr
		}
	}()
	slices.SortFunc(x.objects, func(a, b packed) int { return strings.Compare(string(a.id), string(b.id)) })
	h := newHash(x.pack.size)
	buffered := bufio.NewWriterSize(f, 256<<10)
	w := io.MultiWriter(buffered, h)
	number := func(n uint32) {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], n)
		w.Write(b[:])
	}
	io.WriteString(w, idxTOC)
	at := 0
	for first := range 256 {
		for at < len(x.objects) && int(x.objects[at].id[0]) == first {
			at++
		}
		number(uint32(at))
	}
	for i := range x.objects {
		io.WriteString(w, string(x.objects[i].id))
	}
	for i := range x.objects {
		number(x.objects[i].crc)
	}
	var large []int64
	for i := range x.objects {
		off := x.objects[i].off
		if off >= 1<<31 {
			large = append(large, off)
			off = 1<<31 | int64(len(large)-1)
		}
		number(uint32(off))
	}
	for _, off := range large {
		number(uint32(off >> 32))
		number(uint32(off))
	}
	w.Write(checksum)
	id, err := sum(h)
	if err != nil {
		return err
	}
	io.WriteString(buffered, string(id))
	if err := buffered.Flush(); err != nil {
		return err
	}
	return f.Sync()
}
