package plan

import (
	"context"
	"errors"
	"fmt"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// lockedID reports whether an id source has an entry in the lock file: for what the id
// does not say by itself, which fileset it is, or what filters make of it.
func lockedID(s formula.Source) bool {
	id, err := warehouse.ParseWareID(s.ID)
	return s.Kind == formula.SourceID && !s.Unlocked && err == nil && (id.Packtype != pack.Tree || s.Filters != "")
}

// resolveID finds the ware that an id source is: the one named, which must be the
// fileset that the lock file names beside it, or what the filters make of that. A ware
// that is not here is fetched if something has to be found out of it.
func (src *sources) resolveID(ctx context.Context, s *source) error {
	w, locked := s.wares[0], s.entry
	id, err := warehouse.ParseWareID(w.Source.ID)
	if err != nil {
		return err
	}
	s.entry = LockEntry{From: w.Source.ID, Filters: w.Source.Filters, ID: id}
	if !locked.ID.IsZero() && w.Source.Filters != "" && src.packs.has(locked.ID) == nil {
		s.id, s.entry = locked.ID, locked
		return nil // made once is enough
	}
	s.id, s.entry.Tree = id, locked.Tree
	rec, err := src.o.Warehouse.Get(id)
	if errors.Is(err, warehouse.ErrMissing) && (w.Source.ID == formula.EmptyWare || src.o.Shared.Any() || len(src.where(s)) > 0) {
		if w.Source.Filters == "" && (!lockedID(w.Source) || !locked.Tree.IsZero()) {
			return nil
		}
		if err := src.fetchID(ctx, s); err != nil {
			return err
		}
		rec, err = src.o.Warehouse.Get(id)
	}
	if err != nil {
		return err
	}
	if err := rec.CheckTree(locked.Tree, "the lock file"); err != nil {
		return mismatchError{err}
	}
	if id.Packtype != pack.Tree {
		s.entry.Tree = rec.Tree
	}
	s.entry.ID, err = src.filtered(ctx, w, id)
	if s.id = s.entry.ID; err == nil && !locked.ID.IsZero() && s.id != locked.ID {
		err = mismatchError{fmt.Errorf("%s with filters %s is %s, the lock file names %s", id, w.Source.Filters, s.id, locked.ID)}
	}
	return err
}

// filtered makes the ware that id, which is in the warehouse, is under w's filters.
func (src *sources) filtered(ctx context.Context, w *formula.Ware, id warehouse.WareID) (warehouse.WareID, error) {
	if w.Source.Filters == "" {
		return id, nil
	}
	f, err := pack.ParseFilters(w.Source.Filters)
	if err != nil { // what is packed already is unpacked: both words will do
		var unpackErr error
		if f, unpackErr = pack.ParseUnpackFilters(w.Source.Filters); unpackErr != nil {
			return warehouse.WareID{}, err
		}
	}
	rec, err := pack.Derive(ctx, src.o.Warehouse, id, f)
	src.end(w.Addr, PhaseStore, err)
	return rec.ID, err
}
