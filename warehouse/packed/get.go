package packed

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/archive"
	"github.com/kilnbuild/kiln/warehouse"
)

// Get fetches the archive of a ware and unpacks it while it comes.
func (s *store) Get(ctx context.Context, id warehouse.WareID, local *warehouse.Local, o warehouse.Transfer) (warehouse.Record, error) {
	rec, err := local.Get(id)
	if errors.Is(err, warehouse.ErrMissing) {
		rec, err = s.get(ctx, id, local, o)
	}
	if err != nil {
		return warehouse.Record{}, fmt.Errorf("fetch ware %s from %s: %w", id, s, err)
	}
	return rec, nil
}

func (s *store) get(ctx context.Context, id warehouse.WareID, local *warehouse.Local, o warehouse.Transfer) (warehouse.Record, error) {
	if err := check(id); err != nil {
		return warehouse.Record{}, err
	}
	object, err := s.objects.Open(ctx, id.String(), 0, "")
	if err != nil {
		return warehouse.Record{}, err
	}
	defer object.Close()
	return unpack(ctx, id, local, &source{Reader: object, total: object.Size, tell: o.Progress})
}

// unpack makes the ware id of an archive. The error matches ErrMismatch unless it is
// r's or this machine's.
func unpack(ctx context.Context, id warehouse.WareID, local *warehouse.Local, in *source) (warehouse.Record, error) {
	rec, err := archive.Unpack(ctx, local, in, pack.BuildOptions{
		Options: pack.Options{Packtype: id.Packtype, Filters: pack.KeepFilters()},
		Name:    "the archive", Want: id, RootFile: true,
	})
	var errno unix.Errno
	switch {
	case err == nil || ctx.Err() != nil || errors.Is(err, warehouse.ErrMismatch):
	case in.err != nil:
		err = in.err
	case errors.As(err, &errno) || errors.Is(err, warehouse.ErrOtherTree):
	default:
		err = fmt.Errorf("%w: %w", warehouse.ErrMismatch, err)
	}
	return rec, err
}

// A source remembers what reading ended with, so that it is told from what unpacking
// ended with.
type source struct {
	io.Reader
	err         error
	done, total int64
	tell        func(done, total int64)
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if s.done += int64(n); s.tell != nil && n > 0 {
		s.tell(s.done, s.total)
	}
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}
