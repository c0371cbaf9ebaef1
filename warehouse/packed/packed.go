// Package packed keeps wares where bytes can be kept by name: each travels as one
// deterministic archive, which is unpacked and verified on its way into the local
// warehouse. Where the bytes lie is the business of an Objects, of which file, http, s3
// and oci beside this package have one each.
package packed

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

const (
	asking  = 16       // how many objects are asked for at once: what a server takes for one client
	maxMemo = 16 << 20 // bytes; a memo of a step with ten thousand outputs has one
)

// New returns a Store that keeps wares in objects, in the form that docs/formats.md has
// under "Packed wares". Closing it closes objects.
func New(objects Objects) warehouse.Store { return &store{objects} }

type store struct{ objects Objects }

func (s *store) String() string { return s.objects.String() }

func (s *store) Close() error { return s.objects.Close() }

// Has asks for the objects of ids, some at a time.
func (s *store) Has(ctx context.Context, ids []warehouse.WareID) ([]bool, error) {
	has := make([]bool, len(ids))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(asking)
	for i, id := range ids {
		if check(id) != nil {
			continue
		}
		g.Go(func() (err error) {
			has[i], err = s.has(ctx, id.String())
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, s.about("", err)
	}
	return has, nil
}

func (s *store) has(ctx context.Context, name string) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	_, err := s.objects.Stat(ctx, name)
	if errors.Is(err, warehouse.ErrMissing) {
		return false, nil
	}
	return err == nil, err
}

// check returns an error if no archive is the ware: only what can be verified by
// hashing a fileset can.
func check(id warehouse.WareID) error {
	if parsed, err := warehouse.ParseWareID(id.String()); err != nil || parsed != id {
		return fmt.Errorf("ware id %q: not a name for a ware", id)
	}
	switch id.Packtype {
	case pack.Tree, pack.Tar, pack.Zip:
		return nil
	}
	return &warehouse.MissingError{What: "ware " + id.String(), Reason: fmt.Errorf("packed wares are of packtype tree, tar or zip")}
}

// Memo reads a memo.
func (s *store) Memo(ctx context.Context, key warehouse.StepKey) ([]byte, error) {
	var sealed []byte
	err := retry.Policy{}.Do(ctx, func() (err error) {
		sealed, err = s.memo(ctx, key)
		return err
	})
	return sealed, s.about("read memo "+string(key)+" from", err)
}

func (s *store) memo(ctx context.Context, key warehouse.StepKey) ([]byte, error) {
	if err := key.Check(); err != nil {
		return nil, retry.Final(err)
	}
	o, err := s.objects.Open(ctx, MemoName(key), 0, "")
	if err != nil {
		return nil, retry.Final(err) // Open has tried again by itself
	}
	defer o.Close()
	sealed, err := io.ReadAll(io.LimitReader(o, maxMemo+1))
	switch {
	case err != nil:
		return nil, err
	case len(sealed) > maxMemo:
		return nil, retry.Final(fmt.Errorf("it has more than %d bytes", maxMemo))
	case o.Size >= 0 && int64(len(sealed)) != o.Size:
		return nil, fmt.Errorf("it ended after %d of %d bytes", len(sealed), o.Size)
	}
	return sealed, nil
}

// PutMemo writes a memo.
func (s *store) PutMemo(ctx context.Context, key warehouse.StepKey, sealed []byte) error {
	err := key.Check()
	if err == nil && len(sealed) > maxMemo {
		err = fmt.Errorf("it has %d bytes, more than %d", len(sealed), maxMemo)
	}
	if err == nil {
		err = s.objects.Put(ctx, MemoName(key), newBytes(sealed), int64(len(sealed)))
	}
	return s.about("put memo "+string(key)+" into", err)
}
