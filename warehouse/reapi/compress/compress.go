// Package compress has what both sides of the Remote Execution API compress contents
// with on their way: zstd, fast rather than small. What is worth it is theirs to say.
package compress

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// A Codec makes encoders and decoders when they are first needed, and uses them again. Its
// methods are safe for concurrent use.
type Codec struct {
	MaxWindow uint64 // how much memory a stream may ask for to be decompressed, in bytes

	encoders, decoders sync.Pool
}

// Encoder returns one that writes to w. The caller gives it back with FreeEncoder.
func (c *Codec) Encoder(w io.Writer) (*zstd.Encoder, error) {
	if e, ok := c.encoders.Get().(*zstd.Encoder); ok {
		e.Reset(w)
		return e, nil
	}
	return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
}

// FreeEncoder takes an encoder back, whatever state it is in.
func (c *Codec) FreeEncoder(e *zstd.Encoder) {
	e.Reset(nil)
	c.encoders.Put(e)
}

// Decoder returns one that reads from r. The caller gives it back with FreeDecoder.
func (c *Codec) Decoder(r io.Reader) (*zstd.Decoder, error) {
	if d, ok := c.decoders.Get().(*zstd.Decoder); ok {
		return d, d.Reset(r)
	}
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(c.MaxWindow))
}

// FreeDecoder takes a decoder back, whatever state it is in.
func (c *Codec) FreeDecoder(d *zstd.Decoder) {
	if d.Reset(nil) == nil {
		c.decoders.Put(d)
	}
}

// Decompress returns what data is decompressed, which must have size bytes.
func (c *Codec) Decompress(data []byte, size int64) ([]byte, error) {
	if size < 0 {
		return nil, fmt.Errorf("nothing has %d bytes", size)
	}
	d, err := c.Decoder(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	defer c.FreeDecoder(d)
	plain := make([]byte, size+1)
	n, err := io.ReadFull(d, plain)
	switch {
	case err == nil:
		return nil, fmt.Errorf("it is more than %d bytes", size)
	case err == io.ErrUnexpectedEOF && int64(n) == size, err == io.EOF && size == 0:
		return plain[:n], nil
	case err == io.ErrUnexpectedEOF || err == io.EOF:
		return nil, fmt.Errorf("it is %d bytes in place of %d", n, size)
	}
	return nil, err
}
