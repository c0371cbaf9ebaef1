package reapi

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

// maxWindow is how much memory a stream may ask for to be decompressed, in bytes.
const maxWindow = 64 << 20

// Encoders and decoders are made when they are first needed, and used again.
var encoders, decoders sync.Pool

func encoder(w io.Writer) (*zstd.Encoder, error) {
	if e, ok := encoders.Get().(*zstd.Encoder); ok {
		e.Reset(w)
		return e, nil
	}
	return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
}

// minCompressed is the size below which frames and headers eat what is won, in bytes.
const minCompressed = 256

// compress returns data as it is best sent.
func compress(data []byte) ([]byte, remote.Compressor) {
	if len(data) < minCompressed {
		return data, remote.Identity
	}
	e, err := encoder(nil)
	if err != nil {
		return data, remote.Identity
	}
	defer encoders.Put(e)
	small := e.EncodeAll(data, make([]byte, 0, len(data)/2))
	if len(small) > len(data)-len(data)/16 {
		return data, remote.Identity
	}
	return small, remote.Zstd
}

// compressTo writes what r has to w, compressed.
func compressTo(w io.Writer, r io.Reader) error {
	e, err := encoder(w)
	if err != nil {
		return err
	}
	defer func() {
		e.Reset(nil)
		encoders.Put(e)
	}()
	if _, err := io.CopyBuffer(struct{ io.Writer }{e}, r, make([]byte, pieceSize)); err != nil {
		return err
	}
	return e.Close()
}

func decoder(r io.Reader) (*zstd.Decoder, error) {
	if d, ok := decoders.Get().(*zstd.Decoder); ok {
		return d, d.Reset(r)
	}
	return zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
}

// decompress returns what data is decompressed, which must have size bytes.
func decompress(data []byte, size int64) ([]byte, error) {
	d, err := decoder(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	defer freeDecoder(d)
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

func freeDecoder(d *zstd.Decoder) {
	if d.Reset(nil) == nil {
		decoders.Put(d)
	}
}
