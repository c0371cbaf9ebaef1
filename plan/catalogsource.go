package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/plan/workspace"
	"github.com/kilnbuild/kiln/warehouse"
)

// resolveCatalog finds what a catalog ware names: what the lock file says, or else what
// the catalog says. Where it can be fetched, both tell. No catalog needs to be here for
// what is locked.
func (src *sources) resolveCatalog(ctx context.Context, s *source) error {
	w, locked := s.wares[0], s.entry
	item, err := src.workspaces(w.Dir).Lookup(w.Source.Catalog)
	if locked.ID.IsZero() {
		if errors.Is(err, workspace.ErrUnknown) {
			err = unavailableError{err}
		}
		if err != nil {
			return err
		}
		s.entry = LockEntry{Catalog: w.Source.Catalog, ID: item.ID, Mirrors: redactedAddrs(item.Addresses)}
	} else {
		src.compareCatalog(w, locked, item, err)
	}
	s.id = s.entry.ID
	if err == nil && item.ID == s.id {
		s.mirrors = item.Addresses
	}
	if w.Source.Unlocked {
		return nil
	}
	return src.pinTree(ctx, s, locked.ID.IsZero())
}

// compareCatalog warns of a catalog that no longer says what is locked. That none has
// the ware is nothing to tell: the lock file suffices.
func (src *sources) compareCatalog(w *formula.Ware, locked LockEntry, item workspace.Item, err error) {
	detail := ""
	switch {
	case errors.Is(err, workspace.ErrUnknown) || err == nil && item.ID == locked.ID:
		return
	case err != nil:
		detail = err.Error() + ". The lock file knows the ware, which is used."
	default:
		detail = fmt.Sprintf("The catalog %s says that %s is %s, the lock file has %s. A release does not change, so the lock file is obeyed. To believe the catalog, run kiln update %s.",
			item.Catalog.Dir, w.Source.Catalog, item.ID, locked.ID, w.Addr)
	}
	d := wareDiag(w, "Catalog changed", w.Addr+": "+detail, nil)
	d.Severity = hcl.DiagWarning
	src.warn(d)
}

// pinTree holds the fileset of s against the tree id that the lock file has beside ids
// that leave something out. One that is not there is fetched to find out which it is,
// when it is new; if it cannot be had, that is told when it is needed: it may be made yet.
func (src *sources) pinTree(ctx context.Context, s *source, isNew bool) error {
	if s.id.Packtype == pack.Tree {
		return nil
	}
	rec, err := src.o.Warehouse.Get(s.id)
	if errors.Is(err, warehouse.ErrMissing) {
		if !isNew || src.fetchID(ctx, s) != nil {
			return ctx.Err()
		}
		rec, err = src.o.Warehouse.Get(s.id)
	}
	if err != nil {
		return err
	}
	if err := rec.CheckTree(s.entry.Tree, "the lock file"); err != nil {
		return mismatchError{err}
	}
	s.entry.Tree = rec.Tree
	return nil
}

// pinMade notes the tree ids of catalog wares that have come since they were resolved:
// by their releases' replays.
func (src *sources) pinMade() {
	for addr, e := range src.lock.entries {
		if e.Catalog == "" || !e.Tree.IsZero() || e.ID.Packtype == pack.Tree {
			continue
		}
		if rec, err := src.o.Warehouse.Get(e.ID); err == nil {
			e.Tree = rec.Tree
			src.lock.entries[addr] = e
		}
	}
}

// redactedAddrs are addresses as the lock file has them.
func redactedAddrs(addrs []string) string {
	var list []string
	for _, addr := range addrs {
		if addr = redactURL(addr); addr != "" && !slices.Contains(list, addr) {
			list = append(list, addr)
		}
	}
	return joinPatterns(list)
}
