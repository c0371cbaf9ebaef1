package git

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"sync/atomic"
)

// An index says where in a pack each object is: a pack index of version 2. It reads
// ids a 256th at a time, when it is first asked for one of them.
type index struct {
	f       *os.File
	size    int // bytes of an id
	n       int64
	large   int64 // how many offsets are in the table of large ones
	fanout  [257]uint32
	buckets [256]atomic.Pointer[[]byte]
}

const (
	idxHead = 8 + 4*256 // magic, version, fanout
	idxTOC  = "\xfftOc\x00\x00\x00\x02"
)

func openIndex(path string, size int) (*index, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	x := &index{f: f, size: size}
	if err := x.readHead(); err != nil {
		f.Close()
		return nil, fmt.Errorf("pack index %s: %w", path, err)
	}
	return x, nil
}

func (x *index) readHead() error {
	var head [idxHead]byte
	if _, err := x.f.ReadAt(head[:], 0); err != nil {
		return errors.New("it is too short")
	}
	if string(head[:8]) != idxTOC {
		return errors.New("it is no pack index of version 2; git index-pack makes one")
	}
	for i := range 256 {
		x.fanout[i+1] = binary.BigEndian.Uint32(head[8+4*i:])
		if x.fanout[i+1] < x.fanout[i] {
			return errors.New("it is damaged")
		}
	}
	x.n = int64(x.fanout[256])
	info, err := x.f.Stat()
	if err != nil {
		return err
	}
	rest := info.Size() - idxHead - x.n*int64(x.size+8) - 2*int64(x.size)
	if rest < 0 || rest%8 != 0 || rest/8 > x.n {
		return errors.New("its length is wrong")
	}
	x.large = rest / 8
	return nil
}

// bucket returns the ids that begin with a byte, one behind the other.
func (x *index) bucket(first byte) ([]byte, error) {
	if b := x.buckets[first].Load(); b != nil {
		return *b, nil
	}
	from, to := int64(x.fanout[first]), int64(x.fanout[int(first)+1])
	b := make([]byte, (to-from)*int64(x.size))
	if _, err := x.f.ReadAt(b, idxHead+from*int64(x.size)); err != nil && err != io.EOF {
		return nil, err
	}
	x.buckets[first].Store(&b)
	return b, nil
}

// find returns where in the pack an object begins, -1 if it is not in it.
func (x *index) find(id ID) (int64, error) {
	if len(id) != x.size {
		return -1, nil
	}
	b, err := x.bucket(id[0])
	if err != nil {
		return -1, err
	}
	at := func(i int) []byte { return b[i*x.size : (i+1)*x.size] }
	n := len(b) / x.size
	i := sort.Search(n, func(i int) bool { return string(at(i)) >= string(id) })
	if i == n || string(at(i)) != string(id) {
		return -1, nil
	}
	return x.offset(int64(x.fanout[id[0]]) + int64(i))
}

func (x *index) offset(i int64) (int64, error) {
	offsets := idxHead + x.n*int64(x.size+4)
	var b [8]byte
	if _, err := x.f.ReadAt(b[:4], offsets+4*i); err != nil {
		return -1, err
	}
	off := binary.BigEndian.Uint32(b[:])
	if off < 1<<31 {
		return int64(off), nil
	}
	at := int64(off &^ (1 << 31))
	if at >= x.large {
		return -1, errors.New("a pack index is damaged")
	}
	if _, err := x.f.ReadAt(b[:], offsets+4*x.n+8*at); err != nil {
		return -1, err
	}
	return int64(binary.BigEndian.Uint64(b[:]) &^ (1 << 63)), nil
}

// begin calls f with each id that begins with prefix, of which odd says that of the
// last byte only the first four bits count.
func (x *index) begin(prefix []byte, odd bool, f func(ID)) error {
	b, err := x.bucket(prefix[0])
	for i := 0; i+x.size <= len(b) && err == nil; i += x.size {
		if id := b[i : i+x.size]; hasPrefix(id, prefix, odd) {
			f(ID(id))
		}
	}
	return err
}

func hasPrefix(id, prefix []byte, odd bool) bool {
	last := len(prefix) - 1
	if !odd {
		return bytes.HasPrefix(id, prefix)
	}
	return bytes.HasPrefix(id, prefix[:last]) && id[last]>>4 == prefix[last]>>4
}
