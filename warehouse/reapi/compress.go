package reapi

import (
	"io"

	"github.com/kilnbuild/kiln/warehouse/reapi/compress"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

// codec bounds the window by what servers use at most by themselves.
var codec = compress.Codec{MaxWindow: 64 << 20}

// minCompressed is the size below which frames and headers eat what is won, in bytes.
const minCompressed = 256

// compressed returns data as it is best sent.
func compressed(data []byte) ([]byte, remote.Compressor) {
	if len(data) < minCompressed {
		return data, remote.Identity
	}
	e, err := codec.Encoder(nil)
	if err != nil {
		return data, remote.Identity
	}
	defer codec.FreeEncoder(e)
	small := e.EncodeAll(data, make([]byte, 0, len(data)/2))
	if len(small) > len(data)-len(data)/16 {
		return data, remote.Identity
	}
	return small, remote.Zstd
}

// compressTo writes what r has to w, compressed.
func compressTo(w io.Writer, r io.Reader) error {
	e, err := codec.Encoder(w)
	if err != nil {
		return err
	}
	defer codec.FreeEncoder(e)
	if _, err := io.CopyBuffer(struct{ io.Writer }{e}, r, make([]byte, pieceSize)); err != nil {
		return err
	}
	return e.Close()
}
