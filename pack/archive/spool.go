package archive

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// section returns what is left of r if it is a file, in which one can read anywhere;
// nil if it is not.
func section(r io.Reader) (*io.SectionReader, error) {
	file, ok := r.(interface {
		io.ReaderAt
		io.Seeker
	})
	if !ok {
		return nil, nil
	}
	at, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, nil // a pipe
	}
	end, err := file.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = file.Seek(at, io.SeekStart)
	}
	if err != nil {
		return nil, err
	}
	return io.NewSectionReader(file, at, end-at), nil
}

// unzipStream writes r to a file first, since a zip archive is read from its end.
func unzipStream(ctx context.Context, l *warehouse.Local, r io.Reader, o pack.BuildOptions) (rec warehouse.Record, err error) {
	dir, err := l.Stage("zip")
	if err != nil {
		return rec, err
	}
	defer func() { err = errors.Join(err, warehouse.RemoveTree(dir)) }()
	f, err := os.Create(dir + "/zip")
	if err != nil {
		return rec, err
	}
	defer f.Close()
	max := o.MaxBytes
	if max == 0 {
		max = pack.DefaultMaxBytes
	}
	n, err := io.Copy(f, io.LimitReader(contextReader{ctx, r}, max+1))
	if err == nil && n > max {
		err = errors.New("it is larger than what it may hold")
	}
	if err != nil {
		return rec, err
	}
	return unzip(ctx, l, f, n, o)
}

// A contextReader ends when its context does.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
