package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/plan/workspace"
	"github.com/kilnbuild/kiln/warehouse"
)

// replay makes the wares that the formula names by catalog and that are not here, by
// running their releases' replays, and what those name in turn. What a replay makes has
// to be what the catalog says.
func (a *app) replay(ctx context.Context, s *session, f *runFlags, tale *story) error {
	if !f.recursive {
		return nil
	}
	if f.replayed == nil {
		f.replayed = map[string]bool{}
	}
	for _, w := range s.plan.Formula.Wares {
		if w.Source.Kind != formula.SourceCatalog || s.wares.Exists(s.plan.Wares[w.Addr]) && !f.force {
			continue
		}
		item, err := workspace.Find(w.Dir).Lookup(w.Source.Catalog)
		if errors.Is(err, workspace.ErrUnknown) {
			continue // the lock file knows it: it is fetched
		}
		if err == nil {
			err = item.ReplayError()
		}
		if err != nil {
			return err
		}
		if locked := s.plan.Wares[w.Addr]; locked != item.ID {
			return withCode(codeMismatch, fmt.Errorf("replay of %s: %w: it makes %s, the lock file names %s; to believe the catalog, run kiln update %s",
				w.Source.Catalog, warehouse.ErrMismatch, item.ID, locked, w.Addr))
		}
		if item.Replay == "" || f.replayed[item.Replay] {
			continue // it is fetched, or is being made
		}
		f.replayed[item.Replay] = true
		fmt.Fprintf(a.stderr, "replaying %s\n", w.Source.Catalog)
		if err := a.replayItem(ctx, f, &item, tale); err != nil {
			return fmt.Errorf("replay of %s: %w", w.Source.Catalog, err)
		}
	}
	return nil
}

func (a *app) replayItem(ctx context.Context, f *runFlags, item *workspace.Item, tale *story) error {
	inner := runFlags{planFlags: f.planFlags, jobs: f.jobs, force: f.force, allow: f.allow, recursive: true, replayed: f.replayed}
	inner.formulaFlags = formulaFlags{path: item.Replay}
	inner.update, inner.updateAll, inner.anew = nil, false, f.force
	outputs, _, err := a.runInside(ctx, &inner, tale)
	if err != nil {
		return err
	}
	made, ok := outputs[item.Ref.Item]
	switch {
	case !ok:
		return fmt.Errorf("it makes no %s", item.Ref.Item)
	case made != item.ID:
		return withCode(codeMismatch, fmt.Errorf("%w: it made %s, the catalog names %s", warehouse.ErrMismatch, made, item.ID))
	}
	return nil
}
