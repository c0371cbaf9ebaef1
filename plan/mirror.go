package plan

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack/git"
	"github.com/kilnbuild/kiln/plan/workspace"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/stores"
)

// where returns the warehouse addresses to try for s, which has an id: this machine's
// workspaces first, then mirrors.
func (src *sources) where(s *source) []string {
	addrs := src.workspaces(s.wares[0].Dir).Warehouses()
	addrs = append(addrs, src.mirrorAddrs(s)...)
	for _, w := range s.wares {
		addrs = append(addrs, w.Source.Addresses...)
	}
	addrs = append(addrs, s.mirrors...)
	addrs = append(addrs, splitPatterns(s.entry.Mirrors)...)
	var unique []string
	seen := map[string]bool{}
	for _, addr := range addrs {
		if !seen[addr] {
			seen[addr] = true
			unique = append(unique, addr)
		}
	}
	return unique
}

func (src *sources) workspaces(dir string) workspace.Set {
	if found, ok := src.spaces.Load(dir); ok {
		return found.(workspace.Set)
	}
	set := workspace.Find(dir)
	src.spaces.Store(dir, set)
	return set
}

// fetchPacked brings the ware s.id into the warehouse from the first address that has
// it. What an address gives has to be that ware.
func (src *sources) fetchPacked(ctx context.Context, s *source) error {
	if s.id.String() == formula.EmptyWare {
		return src.packs.putEmpty(ctx)
	}
	places := src.where(s)
	failures, fetched, err := src.turns.take(ctx, places, func(ctx context.Context, i int) (bool, error) {
		err := src.fetchFrom(ctx, s, places[i])
		return err == nil, err
	})
	if fetched || ctx.Err() != nil {
		return err
	}
	missing := &warehouse.MissingError{What: "ware " + s.id.String()}
	if len(failures) == 0 {
		return missing
	}
	err = fmt.Errorf("%w, and no address gives it: %w", missing, joined(failures))
	if errors.Is(err, ErrMismatch) {
		return mismatchError{err}
	}
	return unavailableError{err}
}

// joined joins errors on one line.
func joined(errs []error) error {
	err := errs[0]
	for _, next := range errs[1:] {
		err = fmt.Errorf("%w; %w", err, next)
	}
	return err
}

// fetchFrom brings the ware s.id from a warehouse address.
func (src *sources) fetchFrom(ctx context.Context, s *source, addr string) error {
	if s.id.Packtype == git.Packtype {
		return src.fetchCommit(ctx, s, addr)
	}
	if err := offlineError(src.o.Offline, strings.TrimPrefix(addr, "ca+")); err != nil {
		return err
	}
	d, w := src.downloader(), s.wares[0]
	store, err := stores.At(ctx, addr, d.options())
	if err != nil {
		return fmt.Errorf("%s: %w", redactURL(addr), err)
	}
	defer store.Close()
	_, err = store.Get(ctx, s.id, src.o.Warehouse, warehouse.Transfer{CacheDir: d.dir, Progress: src.report(w.Addr, PhaseFetch)})
	src.end(w.Addr, PhaseFetch, err)
	if errors.Is(err, warehouse.ErrMismatch) {
		err = mismatchError{err}
	}
	if known := (*packed.Error)(nil); errors.As(err, &known) {
		known.Doing = "" // it is said once, before all
	}
	if err != nil {
		return err
	}
	return src.checkTree(s, redactURL(addr))
}

// fetchCommit fetches a ware that is a commit from the repository at an address.
func (src *sources) fetchCommit(ctx context.Context, s *source, addr string) error {
	if strings.HasPrefix(addr, "ca+") {
		return fmt.Errorf("%s holds packed wares, and a commit is in a repository", redactURL(addr))
	}
	w := *s.wares[0]
	w.Source = formula.Source{Kind: formula.SourceGit, Git: strings.TrimPrefix(addr, "git+")}
	if _, err := src.fetchGit(ctx, &w, s.id.Hash); err != nil {
		return err
	}
	return src.checkTree(s, addr)
}

// checkTree compares the fileset of s, which came from the address at, with the one
// that the lock file names, if it does.
func (src *sources) checkTree(s *source, at string) error {
	if s.entry.Tree.IsZero() {
		return nil
	}
	rec, err := src.o.Warehouse.Get(s.id)
	if err != nil {
		return err
	}
	if err := rec.CheckTree(s.entry.Tree, "the lock file"); err != nil {
		return errors.Join(mismatchError{fmt.Errorf("%s: %w", redactURL(at), err)}, src.o.Warehouse.Remove(s.id))
	}
	return nil
}
