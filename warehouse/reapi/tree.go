package reapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

// listing returns what a ware holds. Where kiln has put it, one Tree message has all;
// any other tree is read directory by directory.
func (s *store) listing(ctx context.Context, id warehouse.WareID, known *pack.Index) (*pack.Listing, error) {
	t, err := s.tree(ctx, id)
	if err == nil {
		var list *pack.Listing
		list, err = s.message(ctx, t)
		if err == nil {
			return list, nil
		}
	}
	if id.Packtype == pack.Tree && errors.Is(err, warehouse.ErrMissing) {
		return s.walk(ctx, id, known)
	}
	return nil, err
}

// message reads a Tree message.
func (s *store) message(ctx context.Context, t tree) (*pack.Listing, error) {
	data, err := s.load(ctx, t.message)
	if err != nil {
		return nil, err
	}
	var m remote.Tree
	if err := grpc.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("%w: its Tree message: %w", warehouse.ErrMismatch, err)
	}
	list, err := pack.ReadListing(treeID(t.root), slices.Values(append(m.Children, m.Root)))
	if gone := (*pack.MissingDirError)(nil); errors.As(err, &gone) {
		return nil, fmt.Errorf("%w: its Tree message is not complete: %w", warehouse.ErrMismatch, err)
	}
	return list, err
}

// walk reads a tree from its root down, all directories of one depth at a time, but for
// those that are in wares that are here.
func (s *store) walk(ctx context.Context, id warehouse.WareID, known *pack.Index) (*pack.Listing, error) {
	root, err := rootOf(id)
	if err != nil {
		return nil, err
	}
	msgs, size := map[remote.Digest][]byte{}, int64(0)
	for level := []remote.Digest{root}; len(level) > 0; {
		if err := s.directories(ctx, level, known, msgs); err != nil {
			return nil, err
		}
		below := map[remote.Digest]bool{}
		for _, d := range level {
			if size += d.Size; size > maxTree {
				return nil, fmt.Errorf("its Directory messages are more than %d bytes", maxTree)
			}
			_, dirs, err := pack.DirectoryRefs(msgs[d])
			if err != nil {
				return nil, fmt.Errorf("%w: directory %s: %w", warehouse.ErrMismatch, d, err)
			}
			for _, sub := range dirs {
				if _, have := msgs[digest(sub)]; !have {
					below[digest(sub)] = true
				}
			}
		}
		level = sorted(below)
	}
	return pack.ReadListing(id, maps.Values(msgs))
}

// directories gets some Directory messages.
func (s *store) directories(ctx context.Context, wanted []remote.Digest, known *pack.Index, into map[remote.Digest][]byte) error {
	able, err := s.abilities(ctx)
	if err != nil {
		return err
	}
	var away []remote.Digest
	for _, d := range wanted {
		if known != nil && known.Has(d.Hash) {
			if found, err := known.Find(ctx, d.Hash); err == nil && int64(len(found.Message)) == d.Size {
				into[d] = found.Message
				continue
			}
		}
		if d.Check() != nil || d.Size > maxTree {
			return fmt.Errorf("%w: a directory has the digest %s", warehouse.ErrMismatch, d)
		}
		away = append(away, d)
	}
	for batch := range batches(away, able.batch) {
		if len(batch) == 1 {
			if into[batch[0]], err = s.load(ctx, batch[0]); err != nil {
				return err
			}
			continue
		}
		contents, err := s.readBatch(ctx, able, batch, nil)
		if err != nil {
			return err
		}
		for i, d := range batch {
			into[d] = contents[i]
		}
	}
	return nil
}
