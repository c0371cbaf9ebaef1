package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/kilnbuild/kiln/pack/archive"
)

const (
	// aheadLayers is how many layers are decompressed at once, the one being
	// unpacked among them.
	aheadLayers = 3
	// aheadChunks is how many pieces of 256 KiB one of them may be ahead.
	aheadChunks = 32
)

// A layerReader gives the tar stream of a layer, decompressed ahead. It ends with
// io.EOF only if the blob and the stream are what their digests say.
type layerReader struct {
	io.Reader
	stop func()
}

// readLayer begins to read a layer whose tar stream may have at most limit bytes. It
// adds to packed what it reads of the blob.
func readLayer(ctx context.Context, l *Layer, limit int64, packed *atomic.Int64) *layerReader {
	s := &layerStream{ctx: ctx, layer: l, limit: limit, packed: packed}
	r, stop := archive.Ahead(s, aheadChunks)
	return &layerReader{r, func() { stop(); s.close() }}
}

// verify reads the rest of the stream. It returns nil if the layer is what its digests
// say.
func (r *layerReader) verify() error {
	_, err := io.Copy(io.Discard, r)
	return err
}

// A layerStream reads and verifies a layer in one go.
type layerStream struct {
	ctx    context.Context
	layer  *Layer
	limit  int64
	packed *atomic.Int64

	file  io.Closer
	blob  *hashed // what lies in the file
	tar   *hashed // the stream in it
	stopZ func()
}

func (s *layerStream) open() error {
	file, err := s.layer.open(s.ctx)
	if err != nil {
		return err
	}
	s.file, s.blob = file, newHashed(file, s.layer.Digest)
	s.blob.all = s.packed
	z, stop, err := archive.Decompress(s.blob)
	if err != nil {
		return s.damaged(err)
	}
	s.stopZ, s.tar = stop, newHashed(z, s.layer.DiffID)
	return nil
}

func (s *layerStream) close() {
	if s.stopZ != nil {
		s.stopZ()
	}
	if s.file != nil {
		s.file.Close()
	}
}

func (s *layerStream) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	if s.tar == nil {
		if err := s.open(); err != nil {
			return 0, err
		}
	}
	n, err := s.tar.Read(p)
	switch {
	case s.tar.n > s.limit:
		return 0, fmt.Errorf("the layers unpack to more than the limit allows, this one to more than %d bytes", s.limit)
	case err == io.EOF:
		if err := s.check(); err != nil {
			return 0, err
		}
	case err != nil:
		return 0, s.damaged(err)
	}
	return n, err
}

// damaged is the error for a stream that cannot be decompressed: if the blob is not
// what it should be, that is why.
func (s *layerStream) damaged(err error) error {
	if s.ctx.Err() != nil {
		return s.ctx.Err()
	}
	if err := s.checkBlob(); err != nil {
		return err
	}
	if err == io.ErrUnexpectedEOF {
		err = errors.New("it is truncated")
	}
	return fmt.Errorf("it cannot be decompressed: %w", err)
}

// check compares what has been read with the digests.
func (s *layerStream) check() error {
	if err := s.checkBlob(); err != nil {
		return err
	}
	if got := s.tar.Digest(); got != s.layer.DiffID {
		return fmt.Errorf("it %w: the image's configuration says that it unpacks to %s, and it does to %s", ErrMismatch, s.layer.DiffID, got)
	}
	return nil
}

func (s *layerStream) checkBlob() error {
	if s.layer.Digest == "" {
		return nil // its diff id must do
	}
	// A decompressor need not read to the end.
	var err error
	if s.layer.Size >= 0 {
		_, err = io.CopyN(io.Discard, s.blob, s.layer.Size-s.blob.n+1)
	} else {
		_, err = io.Copy(io.Discard, s.blob)
	}
	switch {
	case err != nil && err != io.EOF:
		return err
	case s.layer.Size >= 0 && s.blob.n > s.layer.Size:
		return fmt.Errorf("it %w: it has more bytes than the %d that the manifest says", ErrMismatch, s.layer.Size)
	case s.layer.Size >= 0 && s.blob.n < s.layer.Size:
		return fmt.Errorf("it %w: it ends after %d of %d bytes", ErrMismatch, s.blob.n, s.layer.Size)
	}
	if got := s.blob.Digest(); got != s.layer.Digest {
		return fmt.Errorf("it %w: its bytes have %s", ErrMismatch, got)
	}
	return nil
}
