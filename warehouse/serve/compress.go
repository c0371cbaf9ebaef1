package serve

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
	"github.com/kilnbuild/kiln/warehouse/serve/keep"
)

// maxWindow is how much memory a compressed upload may ask for, in bytes: as much as
// the levels that clients use by themselves do.
const maxWindow = 32 << 20

// Encoders and decoders are made when they are first needed, and used again.
var encoders, decoders sync.Pool

func encoder(w io.Writer) (*zstd.Encoder, error) {
	if e, ok := encoders.Get().(*zstd.Encoder); ok {
		e.Reset(w)
		return e, nil
	}
	return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
}

func decoder(r io.Reader) (*zstd.Decoder, error) {
	if d, ok := decoders.Get().(*zstd.Decoder); ok {
		return d, d.Reset(r)
	}
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
}

// decode writes to w what r has compressed, at most size bytes. The error matches
// keep.ErrMismatch when there is more, or r is nothing compressed.
func decode(w io.Writer, r io.Reader, size int64) error {
	d, err := decoder(r)
	if err != nil {
		return fmt.Errorf("%w: %w", keep.ErrMismatch, err)
	}
	defer func() {
		_ = d.Reset(nil)
		decoders.Put(d)
	}()
	from := &decoding{Decoder: d}
	n, err := io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(from, size+1), make([]byte, 128<<10))
	switch {
	case from.err != nil:
		return fmt.Errorf("%w: it is not compressed by zstd: %w", keep.ErrMismatch, from.err)
	case err != nil:
		return err
	case n > size:
		return fmt.Errorf("%w: it is larger than %d bytes", keep.ErrMismatch, size)
	}
	return nil
}

// decoding tells what is wrong with the input from what is wrong with the output.
type decoding struct {
	*zstd.Decoder
	err error
}

func (d *decoding) Read(p []byte) (int, error) {
	n, err := d.Decoder.Read(p)
	if err != nil && err != io.EOF {
		d.err = err
	}
	return n, err
}

// uncompressed returns data as it was before it was compressed: at most size bytes.
func uncompressed(data []byte, size int64, c remote.Compressor) ([]byte, error) {
	switch c {
	case remote.Identity:
		return data, nil
	case remote.Zstd:
		var out bytes.Buffer
		err := decode(&out, bytes.NewReader(data), size)
		return out.Bytes(), err
	}
	return nil, grpc.Errorf(grpc.InvalidArgument, "compressor %d: this server knows zstd alone", c)
}
