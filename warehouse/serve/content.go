package serve

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"sync"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
	"github.com/kilnbuild/kiln/warehouse/serve/keep"
)

// errDamaged says that what lies on disk is no longer what it is kept as.
var errDamaged = errors.New("what is kept under that digest was damaged on disk; it is not served, hand it in again")

// anySize is for content of which a client gave only the hash.
const anySize = -1

// A content is what a digest names, opened.
type content struct {
	io.ReaderAt
	size    int64
	sum     keep.Sum
	checked bool   // it is known to be what its digest says
	good    func() // called when it has been found right
	bad     func() // or wrong
	close   func() error
}

// sumOf reads the hash of a client's digest.
func sumOf(d remote.Digest) (keep.Sum, error) {
	sum, err := keep.ParseSum(d.Hash)
	if err != nil || d.Size < 0 {
		return sum, grpc.Errorf(grpc.InvalidArgument, "digest %.80s of %d bytes: want a SHA-256, 64 hex digits in lower case, and a size", d.Hash, d.Size)
	}
	return sum, nil
}

var emptySum = keep.Sum(sha256.Sum256(nil))

// has reports whether there is content of a digest. Nothing is read.
func (s *Server) has(d remote.Digest) (bool, error) {
	sum, err := sumOf(d)
	return err == nil && s.hasSum(sum, d.Size), err
}

func (s *Server) hasSum(sum keep.Sum, size int64) bool {
	if sum == emptySum {
		return size <= 0
	}
	n, ok := s.store.Has(sum)
	return ok && (size == anySize || size == n) || s.hasLocal(sum)
}

// open opens what a digest names. The error matches keep.ErrMissing if it is not there.
func (s *Server) open(ctx context.Context, d remote.Digest) (*content, error) {
	sum, err := sumOf(d)
	if err != nil {
		return nil, err
	}
	return s.openSum(ctx, sum, d.Size)
}

func (s *Server) openSum(ctx context.Context, sum keep.Sum, size int64) (*content, error) {
	if sum == emptySum && size <= 0 {
		return ofBytes(sum, nil), nil
	}
	o, err := s.store.Open(sum)
	if err == nil && size != anySize && size != o.Bytes {
		o.Close()
		err = keep.ErrMissing
	}
	if errors.Is(err, keep.ErrMissing) {
		return s.openLocal(ctx, sum, size)
	}
	if err != nil {
		return nil, err
	}
	return &content{ReaderAt: o, size: o.Bytes, sum: sum, checked: o.Checked, good: o.Good, bad: o.Bad, close: o.Close}, nil
}

// ofBytes is content that is in memory and known to be right.
func ofBytes(sum keep.Sum, data []byte) *content {
	return &content{
		ReaderAt: bytes.NewReader(data), size: int64(len(data)), sum: sum,
		checked: true, close: func() error { return nil },
	}
}

// pieceSize is how much of a content is read and sent at a time, in bytes.
const pieceSize = 256 << 10

var pieces = sync.Pool{New: func() any { return new([pieceSize]byte) }}

// send calls f with all of a content from offset on, piece by piece, at most limit
// bytes. The last piece is given only when all of it has been found to be what the digest
// says, so that nobody gets a whole that is wrong; the error then matches errDamaged.
func (c *content) send(ctx context.Context, offset, limit int64, f func([]byte) error) error {
	end := min(c.size, offset+min(limit, c.size-offset))
	if !c.checked && (offset > 0 || end < c.size) {
		if err := c.check(ctx); err != nil {
			return err
		}
	}
	hash := sha256.New()
	piece := pieces.Get().(*[pieceSize]byte)
	defer pieces.Put(piece)
	for offset < end || !c.checked {
		b := piece[:min(pieceSize, end-offset)]
		if err := c.read(ctx, b, offset); err != nil {
			return err
		}
		offset += int64(len(b))
		if !c.checked {
			hash.Write(b)
			if offset == end {
				if err := c.found(keep.Sum(hash.Sum(nil))); err != nil {
					return err
				}
			}
		}
		if len(b) > 0 {
			if err := f(b); err != nil {
				return err
			}
		}
	}
	return nil
}

// check reads all of it.
func (c *content) check(ctx context.Context) error {
	if c.checked {
		return nil
	}
	return c.send(ctx, 0, c.size, func([]byte) error { return nil })
}

func (c *content) read(ctx context.Context, b []byte, offset int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	n, err := c.ReadAt(b, offset)
	if n == len(b) {
		return nil
	}
	if err == io.EOF {
		return c.found(keep.Sum{}) // it is shorter than it was
	}
	return err
}

// found compares what was read with what it should be.
func (c *content) found(sum keep.Sum) error {
	if c.checked = sum == c.sum; c.checked {
		if c.good != nil {
			c.good()
		}
		return nil
	}
	if c.bad != nil {
		c.bad()
	}
	return errDamaged
}

// bytes returns all of it.
func (c *content) bytes(ctx context.Context) ([]byte, error) {
	data := make([]byte, 0, c.size)
	err := c.send(ctx, 0, c.size, func(p []byte) error { data = append(data, p...); return nil })
	return data, err
}

// load returns what a digest names, if it is at most limit bytes.
func (s *Server) load(ctx context.Context, d remote.Digest, limit int64) ([]byte, error) {
	c, err := s.open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer c.close()
	if c.size > limit {
		return nil, grpc.Errorf(grpc.InvalidArgument, "%s has %d bytes: more than %d are read with ByteStream", d.Hash, c.size, limit)
	}
	return c.bytes(ctx)
}

// keepBytes keeps content that a client handed in, if it is what d says.
func (s *Server) keepBytes(d remote.Digest, data []byte) error {
	sum, err := sumOf(d)
	if err != nil {
		return err
	}
	if int64(len(data)) != d.Size || keep.Sum(sha256.Sum256(data)) != sum {
		return keep.ErrMismatch
	}
	if there, err := s.has(d); there || err != nil {
		return err
	}
	w, err := s.create(d.Size)
	if err != nil {
		return err
	}
	if _, err := w.Write(data); err != nil {
		w.Abort()
		return err
	}
	return w.Commit(sum, d.Size)
}
