package plan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/warehouse"
	"golang.org/x/sync/errgroup"
)

// WaresOf returns the addresses of the wares that steps take as inputs, sorted.
func (p *Plan) WaresOf(steps []*Step) []string {
	seen := map[string]bool{}
	var addrs []string
	for _, s := range steps {
		for i := range s.Inputs {
			if addr := s.Inputs[i].From.Ware; addr != "" && !seen[addr] {
				seen[addr] = true
				addrs = append(addrs, addr)
			}
		}
	}
	slices.Sort(addrs)
	return addrs
}

// Fetch brings the wares at addrs into the warehouse, some at a time; one that is
// there already costs a look. What is fetched must be the ware that the plan names:
// anything else is a diagnostic that matches ErrMismatch, through Cause.
func (p *Plan) Fetch(ctx context.Context, addrs []string) hcl.Diagnostics {
	if p.sources == nil {
		return nil // made by New: its wares come from elsewhere
	}
	var todo []*source
	for _, addr := range addrs {
		if s := p.sources.byAddr[addr]; s != nil && !slices.Contains(todo, s) {
			todo = append(todo, s)
		}
	}
	return p.sources.each(ctx, todo, p.sources.fetch)
}

// VerifyLock fetches what the lock file pins from the sources themselves, although the
// wares may be here, and holds what comes of it against the ids that the lock file
// names: that finds an id that was put there by hand. What its id proves, and what comes
// with kiln, is not fetched. Diagnostics are those of Fetch.
func (p *Plan) VerifyLock(ctx context.Context) hcl.Diagnostics {
	if p.sources == nil {
		return nil
	}
	var todo []*source
	for _, w := range p.Formula.Wares {
		s := p.sources.byAddr[w.Addr]
		fetched := w.Source.Kind == formula.SourceURL || w.Source.Kind == formula.SourceGit || w.Source.Kind == formula.SourceOCI
		if s != nil && fetched && locks(w.Source) && !slices.Contains(todo, s) {
			todo = append(todo, s)
		}
	}
	return p.sources.each(ctx, todo, p.sources.verify)
}

// verify fetches s from its source, although it may be here.
func (src *sources) verify(ctx context.Context, s *source) error {
	again := *s
	if s.wares[0].Source.Kind == formula.SourceURL {
		again.entry = LockEntry{SHA256: s.entry.SHA256} // without an id nothing here stands for it
	}
	return src.fetchSource(ctx, &again)
}

// each does fetch to some sources at a time, and tells every failure.
func (src *sources) each(ctx context.Context, todo []*source, fetch func(context.Context, *source) error) hcl.Diagnostics {
	results := make([]error, len(todo))
	var g errgroup.Group
	g.SetLimit(src.jobs())
	for i, s := range todo {
		g.Go(func() error {
			if results[i] = ctx.Err(); results[i] == nil {
				results[i] = fetch(ctx, s)
			}
			return nil
		})
	}
	g.Wait()
	if ctx.Err() != nil {
		return interrupted(ctx)
	}
	diags := src.takeWarnings()
	for i, err := range results {
		if err != nil {
			diags = append(diags, failDiag(todo[i].wares[0], err))
		}
	}
	return diags
}

// fetch puts s into the warehouse if it is not there.
func (src *sources) fetch(ctx context.Context, s *source) error {
	w := s.wares[0]
	err := src.packs.has(s.id)
	if err == nil || !errors.Is(err, warehouse.ErrMissing) {
		return err
	}
	var shared error
	if fetchable(w.Source) {
		if shared = src.fetchShared(ctx, s); shared == nil || ctx.Err() != nil {
			return shared
		}
	}
	if err = src.fetchMirrored(ctx, s); err != nil {
		if _, plain := shared.(*warehouse.MissingError); plain || shared == nil {
			return err // no warehouse had anything to say
		}
		return fmt.Errorf("%w; %w", err, shared)
	}
	return nil
}

// fetchable reports whether a warehouse may have what a source is: what lies in a
// directory here or in the formula is quicker to read than to ask for.
func fetchable(s formula.Source) bool {
	return s.Kind != formula.SourcePath && s.Kind != formula.SourceText
}

// fetchShared brings s from the warehouses beyond this machine.
func (src *sources) fetchShared(ctx context.Context, s *source) error {
	if s.wares[0].Source.Kind == formula.SourceBuiltin {
		if b, ok := src.o.Builtins[s.wares[0].Source.Builtin]; ok && b.ID == s.id {
			return &warehouse.MissingError{What: "ware " + s.id.String()} // this kiln carries it
		}
	}
	addr := s.wares[0].Addr
	_, err := src.o.Shared.Fetch(ctx, s.id, src.report(addr, PhaseFetch))
	if err == nil {
		err = src.checkTree(s, "a warehouse")
	}
	if err == nil {
		src.end(addr, PhaseFetch, nil)
	}
	return err
}

// fetchID brings the ware s.id from the warehouses beyond this machine, or else from
// the addresses that the formula names.
func (src *sources) fetchID(ctx context.Context, s *source) error {
	err := src.fetchShared(ctx, s)
	if err == nil || ctx.Err() != nil {
		return err
	}
	return src.fetchPacked(ctx, s)
}

// fetchSource brings s from where its formula says that it is.
func (src *sources) fetchSource(ctx context.Context, s *source) (err error) {
	w := s.wares[0]
	var got warehouse.WareID
	switch w.Source.Kind {
	case formula.SourceBuiltin:
		got, err = src.putBuiltin(ctx, w, s.id)
		if err == nil && got != s.id {
			err = mismatchError{fmt.Errorf("builtin %q is %s, the lock file names %s", w.Source.Builtin, got, s.id)}
		}
	case formula.SourceURL:
		var e LockEntry
		e, err = src.fetchURL(ctx, s)
		if got = e.ID; err == nil && got != s.id {
			err = mismatchError{fmt.Errorf("%s gives %s, the lock file names %s", redactURL(w.Source.URL), got, s.id)}
		}
	case formula.SourceGit:
		var e LockEntry
		e, err = src.fetchGit(ctx, w, s.entry.Commit)
		if got = e.ID; err == nil && got != s.id {
			err = mismatchError{fmt.Errorf("commit %s of %s gives %s, the lock file names %s", e.Commit, redactURL(w.Source.Git), got, s.id)}
		}
	case formula.SourceOCI:
		var e LockEntry
		e, err = src.fetchOCI(ctx, w, cmp.Or(s.entry.Manifest, s.entry.Digest))
		if got = e.ID; err == nil && got != s.id {
			err = mismatchError{fmt.Errorf("image %s of %s gives %s, the lock file names %s", e.Digest, w.Source.OCI, got, s.id)}
		}
	case formula.SourceID:
		if w.Source.Filters != "" {
			return src.resolveID(ctx, s)
		}
		return src.fetchPacked(ctx, s)
	case formula.SourceCatalog:
		return src.fetchPacked(ctx, s)
	case formula.SourceText:
		_, err = src.packs.text(ctx, w.Source.Text, true)
	case formula.SourcePath:
		got, err = src.packs.ingest(ctx, w, src.lockPath, src.report(w.Addr, PhaseStore))
		src.end(w.Addr, PhaseStore, err)
		if err == nil && got != s.id {
			err = fmt.Errorf("%s changed while kiln was reading it: it was %s and is %s; run again", sourcePath(w), s.id, got)
		}
	}
	return err
}

// putBuiltin brings a ware that kiln carries into the warehouse, and what its filters
// make of it.
func (src *sources) putBuiltin(ctx context.Context, w *formula.Ware, id warehouse.WareID) (warehouse.WareID, error) {
	b, err := src.builtin(w)
	if err != nil {
		return id, err
	}
	if b.ID != id && w.Source.Filters == "" {
		return id, unavailableError{fmt.Errorf("the lock file names %s for builtin %q, and this kiln carries %s; run kiln update %s to use that",
			id, w.Source.Builtin, b.ID, w.Addr)}
	}
	err = b.Put(ctx, src.o.Warehouse)
	src.end(w.Addr, PhaseStore, err)
	if err != nil {
		return id, err
	}
	return src.filtered(ctx, w, b.ID)
}

func interrupted(ctx context.Context) hcl.Diagnostics {
	return hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Interrupted",
		Detail: "Resolving the wares was interrupted.", Extra: context.Cause(ctx)}}
}

// SaveLock writes what Resolve found out to the lock file. With prune it drops the
// entries of wares that are not in the formula. Nothing is written when the file
// says the same already. Without prune, a file that cannot be written is only a
// warning if every ware would be found again: formulas may lie where one may not write.
func (p *Plan) SaveLock(prune bool) ([]LockChange, hcl.Diagnostics) {
	if p.sources == nil || len(p.sources.lock.entries) == 0 && !prune {
		return nil, nil
	}
	p.sources.pinMade()
	var keep func(string) bool
	if prune {
		keep = p.keepsEntry
	}
	return saveLock(p.sources.lockPath, p.sources.lock, keep)
}

// CheckLock returns what SaveLock with prune would change in the lock file, and writes
// nothing.
func (p *Plan) CheckLock() ([]LockChange, hcl.Diagnostics) {
	if p.sources == nil {
		return nil, nil
	}
	p.sources.pinMade()
	return checkLock(p.sources.lockPath, p.sources.lock, p.keepsEntry)
}

// keepsEntry reports whether the ware at addr is one that the lock file has an entry of.
func (p *Plan) keepsEntry(addr string) bool {
	s := p.sources.byAddr[addr]
	return s != nil && locks(s.wares[0].Source) || isPending(p.Formula, addr)
}
