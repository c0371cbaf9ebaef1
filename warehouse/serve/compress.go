package serve

import (
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/kilnbuild/kiln/warehouse/reapi/compress"
	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
	"github.com/kilnbuild/kiln/warehouse/serve/keep"
)

// codec bounds the window of an upload by what clients use at most by themselves.
var codec = compress.Codec{MaxWindow: 32 << 20}

// decode writes to w what r has compressed, at most size bytes. The error matches
// keep.ErrMismatch when there is more, or r is nothing compressed.
func decode(w io.Writer, r io.Reader, size int64) error {
	d, err := codec.Decoder(r)
	if err != nil {
		return fmt.Errorf("%w: %w", keep.ErrMismatch, err)
	}
	defer codec.FreeDecoder(d)
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
		plain, err := codec.Decompress(data, size)
		if err != nil {
			err = fmt.Errorf("%w: %w", keep.ErrMismatch, err)
		}
		return plain, err
	}
	return nil, grpc.Errorf(grpc.InvalidArgument, "compressor %d: this server knows zstd alone", c)
}
