package git

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zlib"
)

// A thin pack has deltas to objects that are not in it, because who asked for it has
// them. complete appends those, so that the pack stands by itself.
func (x *indexer) complete(ctx context.Context, base func(ID) (Kind, []byte, error)) (checksum []byte, err error) {
	f := inflaters.Get().(*inflater)
	defer inflaters.Put(f)
	for id := range x.refs {
		k, data, err := base(id)
		if err != nil {
			continue // it may be a delta to another of these
		}
		o, err := x.appendBase(k, id, data)
		if err != nil {
			return nil, err
		}
		if err := x.below(ctx, &o, k, data, f, 0); err != nil {
			return nil, err
		}
		x.objects = append(x.objects, o)
		x.done.Add(1)
	}
	var count [4]byte
	binary.BigEndian.PutUint32(count[:], uint32(len(x.objects)))
	if _, err := x.pack.pack.WriteAt(count[:], 8); err != nil {
		return nil, err
	}
	h := newHash(x.pack.size)
	if _, err := io.Copy(h, ctxReader{ctx, io.NewSectionReader(x.pack.pack, 0, x.pack.end)}); err != nil {
		return nil, err
	}
	got, err := sum(h)
	if err != nil {
		return nil, err
	}
	_, err = x.pack.pack.WriteAt([]byte(got), x.pack.end)
	return []byte(got), err
}

// appendBase writes an object to the end of the pack.
func (x *indexer) appendBase(k Kind, id ID, data []byte) (packed, error) {
	o := packed{entry: entry{kind: k, size: int64(len(data))}, off: x.pack.end, id: id}
	var b bytes.Buffer
	rest := o.size >> 4
	c := byte(k)<<4 | byte(o.size&15)
	for ; rest > 0; rest >>= 7 {
		b.WriteByte(c | 0x80)
		c = byte(rest & 0x7f)
	}
	b.WriteByte(c)
	o.data = o.off + int64(b.Len())
	z := zlib.NewWriter(&b)
	if _, err := z.Write(data); err != nil {
		return o, err
	}
	if err := z.Close(); err != nil {
		return o, err
	}
	if _, err := x.pack.pack.WriteAt(b.Bytes(), x.pack.end); err != nil {
		return o, fmt.Errorf("complete it: %w", err)
	}
	o.crc = crc32.ChecksumIEEE(b.Bytes())
	x.pack.end += int64(b.Len())
	return o, nil
}
