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

// maxPacked is how many bytes an archive may have: as many as what it holds.
const maxPacked = pack.DefaultMaxBytes

// maxRatio is how many times as large as its archive a ware may be: a little above what
// deflate can reach, 1032, since what rio has packed cannot be refused for that.
const maxRatio = 1100

// Get fetches the archive of a ware and unpacks it while it comes.
func (s *store) Get(ctx context.Context, id warehouse.WareID, local *warehouse.Local, o warehouse.Transfer) (warehouse.Record, error) {
	rec, err := local.Get(id)
	if errors.Is(err, warehouse.ErrMissing) {
		rec, err = s.get(ctx, id, local, o)
	}
	if err != nil {
		return warehouse.Record{}, s.about("fetch ware "+id.String()+" from", err)
	}
	return rec, nil
}

func (s *store) get(ctx context.Context, id warehouse.WareID, local *warehouse.Local, o warehouse.Transfer) (rec warehouse.Record, err error) {
	if err := check(id); err != nil {
		return rec, err
	}
	dir := o.CacheDir
	if dir == "" {
		if dir, err = local.Stage("fetch"); err != nil {
			return rec, err
		}
		defer func() { err = errors.Join(err, warehouse.RemoveTree(dir)) }()
	}
	f := Fetch{
		Open: func(ctx context.Context, offset int64, version string) (*Object, error) {
			return s.objects.Open(ctx, id.String(), offset, version)
		},
		From: s.String(), Key: id.String(), Dir: dir, Max: maxPacked, Proven: true, Progress: o.Progress,
		Have: func(string) bool {
			there, err := local.Get(id)
			rec = there
			return err == nil
		},
	}
	err = f.Do(ctx, func(in *Incoming) (err error) {
		rec, err = unpack(ctx, id, local, in)
		return err
	})
	return rec, err
}

// unpack makes the ware id of an archive. The error matches ErrMismatch unless it is
// this machine's.
func unpack(ctx context.Context, id warehouse.WareID, local *warehouse.Local, in *Incoming) (warehouse.Record, error) {
	var r io.Reader = in
	if id.Packtype == pack.Zip { // which is read from its end
		whole, err := in.Whole()
		if err != nil {
			return warehouse.Record{}, err
		}
		r = whole
	}
	rec, err := archive.Unpack(ctx, local, r, pack.BuildOptions{
		Options: pack.Options{Packtype: id.Packtype, Filters: pack.KeepFilters()},
		Name:    "the archive", Want: id, RootFile: true, MaxRatio: maxRatio,
	})
	if err != nil && ctx.Err() == nil && !ours(err) {
		err = fmt.Errorf("%w: %w", warehouse.ErrMismatch, err)
	}
	return rec, err
}

// ours reports whether an error of unpacking is about this machine, or says of itself
// that it is about the ware.
func ours(err error) bool {
	var errno unix.Errno
	return errors.As(err, &errno) || errors.Is(err, warehouse.ErrReadOnly) ||
		errors.Is(err, warehouse.ErrOtherTree) || errors.Is(err, warehouse.ErrMismatch)
}
