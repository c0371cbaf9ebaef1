package git

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zlib"
)

// An inflater is a zlib reader that is used again, since making one costs more than
// most objects.
type inflater struct {
	z     io.ReadCloser
	in    bufio.Reader
	bytes bytes.Reader
	head  [4 << 10]byte
}

var inflaters = sync.Pool{New: func() any { return &inflater{in: *bufio.NewReaderSize(nil, 32<<10)} }}

// reset begins the zlib stream in r, which must be an io.ByteReader to not read on
// beyond its end.
func (f *inflater) reset(r io.Reader) error {
	var err error
	if f.z == nil {
		f.z, err = zlib.NewReader(r)
	} else {
		err = f.z.(zlib.Resetter).Reset(r, nil)
	}
	return inflateError(err)
}

func inflateError(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("its compressed data ends too early")
	}
	return fmt.Errorf("its compressed data is damaged: %w", err)
}

// grow is how much is allocated on the word of a header alone.
const grow = 1 << 20

// all reads the stream to its end, which must come after exactly size bytes.
func (f *inflater) all(size int64) ([]byte, error) {
	buf := make([]byte, 0, min(size, grow)+1)
	for int64(len(buf)) <= size {
		if len(buf) == cap(buf) {
			buf = append(make([]byte, 0, min(2*int64(cap(buf)), size+1)), buf...)
		}
		n, err := f.z.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, inflateError(err)
		}
	}
	if int64(len(buf)) != size {
		return nil, errors.New("its compressed data is not as long as its header says")
	}
	return buf, nil
}
