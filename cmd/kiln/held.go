package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
)

// ready says what a run of the targets would do with each step, brings the wares that
// it needs into the warehouse, and holds them and those that remembered steps have made
// for others, so that no collector takes them from under the run. What one has taken
// before it was held is brought or made again.
func (a *app) ready(ctx context.Context, s *session, f *runFlags, targets []string, exports []export, tale *story) ([]plan.Explanation, error) {
	for try := 1; ; try++ {
		end := func() {}
		if s.shared.Any() {
			end = tale.asking()
		}
		explained, err := s.explain(ctx, targets, f.force)
		end()
		if err != nil {
			return nil, err
		}
		if err := a.fetch(ctx, s, needed(s.plan, explained, exports)); err != nil {
			return nil, err
		}
		here, elsewhere := counted(s.plan, explained, exports)
		if len(elsewhere) > 0 {
			if err := s.wares.Hold(elsewhere...); err != nil && !errors.Is(err, warehouse.ErrMissing) {
				return nil, err
			}
		}
		if len(here) == 0 {
			return explained, nil
		}
		err = s.wares.Hold(here...)
		if err == nil || !errors.Is(err, warehouse.ErrMissing) || try == 3 {
			return explained, err
		}
	}
}

// counted returns the wares that a run counts on: what steps that may run take, and
// what is exported. Those from memos of other warehouses need not be here.
func counted(p *plan.Plan, explained []plan.Explanation, exports []export) (here, elsewhere []warehouse.WareID) {
	pending := plan.Pending(explained)
	if len(pending) == 0 && len(exports) == 0 {
		return nil, nil
	}
	memos := make(map[string]*warehouse.Memo, len(explained))
	for i := range explained {
		if e := &explained[i]; e.Memo != nil {
			memos[e.Step.Addr] = e.Memo
		}
	}
	add := func(ref formula.Ref) {
		memo := memos[ref.Step]
		switch {
		case memo != nil && memo.Origin != "":
			elsewhere = append(elsewhere, memo.Outputs[ref.Output])
		case memo != nil:
			here = append(here, memo.Outputs[ref.Output])
		default:
			if id, ok := p.Wares[ref.Ware]; ok {
				here = append(here, id)
			}
		}
	}
	for _, st := range pending {
		for i := range st.Inputs {
			add(st.Inputs[i].From)
		}
	}
	for _, e := range exports {
		for _, ref := range e.refs(outputOf(p, e.name)) {
			add(ref)
		}
	}
	return here, elsewhere
}

// noteUse writes down which wares and memos the formula uses, for kiln gc to keep.
func (s *session) noteUse(saved plan.Saved) error {
	dir, err := dataDir("use")
	if err != nil {
		return err
	}
	wares := s.usedWares()
	sum := sha256.New()
	sum.Write([]byte(saved.Digest))
	for _, id := range wares {
		sum.Write([]byte(id.String()))
	}
	use := warehouse.Use{Lock: s.lockAt, Formula: s.plan.Formula.Dir, Digest: hex.EncodeToString(sum.Sum(nil))}
	return warehouse.OpenUses(dir).Note(use, s.memos, func(u *warehouse.Use) { u.Wares, u.Memos = wares, saved.Keys() })
}

// usedWares returns the formula's wares that are known, in the order written.
func (s *session) usedWares() (ids []warehouse.WareID) {
	for _, w := range s.plan.Formula.Wares {
		if id, ok := s.plan.Wares[w.Addr]; ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// noteFetched is noteUse for a formula of which nothing was run: of what its steps were
// known to use, nothing is forgotten.
func (s *session) noteFetched() error {
	dir, err := dataDir("use")
	if err != nil {
		return err
	}
	return warehouse.OpenUses(dir).NoteWares(s.lockAt, s.plan.Formula.Dir, s.usedWares())
}
