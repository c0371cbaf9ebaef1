package plan

import (
	"context"

	"github.com/kilnbuild/kiln/warehouse"
)

// EarlyKeys returns the early key of each step, by Index. It is what the step key would
// be if an input that another step makes were named by that step's early key, and so is
// known before anything has run. Memos that are pushed are kept under it too, so that in
// a chain not every question has to wait for the answer to the one before. It promises
// nothing: what is found there counts only once the step's own key is known, and is it.
func (p *Plan) EarlyKeys() []warehouse.StepKey {
	keys := make([]warehouse.StepKey, len(p.Steps))
	for i, s := range p.Steps {
		r, err := p.ResolveStep(s, func(dep *Step, output string) (warehouse.WareID, bool) {
			return warehouse.WareID{Packtype: "early", Hash: string(keys[dep.Index]) + "." + output}, true
		})
		if err == nil { // always: every input was given
			keys[i] = r.Key
		}
	}
	return keys
}

// foresight looks for memos of steps whose keys are not known yet.
type foresight struct {
	keys  []warehouse.StepKey // EarlyKeys
	until int                 // the last level that was looked at
	next  int                 // how many levels to look at the next time
}

// aheadFactor is how many levels are looked at first, and by how much more each time.
const aheadFactor = 8

// foresee looks ahead once level at is known and some of it came from elsewhere. Each
// time it looks further, so that few questions are in vain when nobody has the rest.
func (x *explainer) foresee(ctx context.Context, levels [][]*Step, at int) {
	f := &x.ahead
	if f.keys == nil {
		f.keys, f.next = x.p.EarlyKeys(), aheadFactor
	}
	if at < f.until || at == len(levels)-1 {
		return
	}
	f.until = min(at+f.next, len(levels)-1)
	f.next *= aheadFactor
	likely := make(map[*Step]bool)
	var steps []*Step
	for _, level := range levels[at+1 : f.until+1] {
		for _, s := range level {
			if x.likely(s, likely) {
				likely[s] = true
				steps = append(steps, s)
			}
		}
	}
	askAll(steps, func(s *Step) { x.o.Shared.Foresee(ctx, f.keys[s.Index]) })
}

// likely reports whether somebody else may remember s: they do, or may, remember all that
// it needs.
func (x *explainer) likely(s *Step, likely map[*Step]bool) bool {
	if !Hermetic(s.Step) {
		return false
	}
	elsewhere := false
	for _, d := range s.Deps {
		dep := x.p.Steps[d]
		memo := x.result[x.at[d]].Memo
		if memo == nil && !likely[dep] {
			return false
		}
		elsewhere = elsewhere || memo == nil || memo.Origin != ""
	}
	return elsewhere
}
