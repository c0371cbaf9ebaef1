package plan

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/warehouse"
)

// An Explanation says what a run would do with one step, and why.
type Explanation struct {
	Step     *Step
	State    State
	Reasons  []Reason        // empty for a step that is remembered
	Resolved Resolved        // zero for a step that waits
	Memo     *warehouse.Memo // of a step that is remembered
}

// ExplainOptions says what a plan is held against.
type ExplainOptions struct {
	Warehouse *warehouse.Local
	Memos     *warehouse.Memos
	Shared    Shared   // nil: Alone
	History   *History // may be nil: reasons then say less
	Force     bool     // as if nothing were remembered
}

// Explain says what a run would do with each of steps, which holds what it needs,
// in topological order, as Select returns it. Nothing is changed but for memos that
// other warehouses give, which are kept.
func (p *Plan) Explain(ctx context.Context, steps []*Step, o ExplainOptions) ([]Explanation, error) {
	if o.Shared == nil {
		o.Shared = Alone{}
	}
	x := explainer{p: p, o: o, at: make([]int32, len(p.Steps)), result: make([]Explanation, len(steps))}
	for i := range x.at {
		x.at[i] = -1
	}
	for i, s := range steps {
		x.at[s.Index] = int32(i)
	}
	if o.History != nil && len(steps) >= cacheFrom {
		x.cache = readMemoCache(o.History.memoPath())
	}
	levels := levels(steps, len(p.Steps))
	for i, level := range levels {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("explain the plan: %w", err)
		}
		x.explainAll(level)
		if o.Shared.Any() && x.ask(ctx, level) {
			x.foresee(ctx, levels, i)
		}
	}
	if o.History != nil {
		for i := range x.result {
			x.addHistory(ctx, &x.result[i])
		}
	}
	return x.result, nil
}

// levels groups steps so that each one needs only steps of earlier groups.
func levels(steps []*Step, total int) [][]*Step {
	level := make([]int, total)
	var groups [][]*Step
	for _, s := range steps {
		n := 0
		for _, d := range s.Deps {
			n = max(n, level[d]+1)
		}
		level[s.Index] = n
		if n == len(groups) {
			groups = append(groups, nil)
		}
		groups[n] = append(groups[n], s)
	}
	return groups
}

type explainer struct {
	p      *Plan
	cache  memoCache // may be nil
	o      ExplainOptions
	at     []int32 // by Step.Index: index in result, or -1
	result []Explanation
	ahead  foresight
	files  map[[2]string]fileChanges // by address and old ware id
}

// perWorker is how many steps are worth a goroutine: a look-up takes about 10 µs.
const perWorker = 32

// explainAll explains steps that do not need each other.
func (x *explainer) explainAll(steps []*Step) {
	workers := min(runtime.GOMAXPROCS(0), (len(steps)+perWorker-1)/perWorker)
	var wg sync.WaitGroup
	for w := range workers {
		part := steps[w*len(steps)/workers : (w+1)*len(steps)/workers]
		work := func() {
			for _, s := range part {
				x.explain(&x.result[x.at[s.Index]], s)
			}
		}
		if w == workers-1 {
			work()
			break
		}
		wg.Go(work)
	}
	wg.Wait()
}

func (x *explainer) explain(e *Explanation, s *Step) {
	e.Step, e.Reasons = s, x.waits(s)
	if e.Reasons != nil {
		e.State = StateWait
		return
	}
	resolved, err := x.p.ResolveStep(s, func(dep *Step, output string) (warehouse.WareID, bool) {
		id, ok := x.outputs(dep)[output]
		return id, ok
	})
	if err != nil { // a memo without the output: Remembered refuses those
		e.State, e.Reasons = StateWait, []Reason{{Kind: ReasonWait, Text: err.Error()}}
		return
	}
	e.Resolved, e.State = resolved, StateRun
	if x.o.Force {
		e.Reasons = []Reason{{Kind: ReasonForced, Text: "forced"}}
		return
	}
	if !Hermetic(s.Step) {
		e.Reasons = []Reason{{Kind: ReasonOpen, Text: "never remembered: it " + asksFor(s.Step)}}
		return
	}
	memo, reason := x.o.remembered(&resolved, x.cache)
	if memo == nil {
		e.Reasons = []Reason{reason}
		return
	}
	e.State, e.Memo = StateRemembered, memo
}

// asksFor says what of this machine a step uses.
func asksFor(s *formula.Step) string {
	var asks []string
	if s.Network {
		asks = append(asks, "uses the network")
	}
	for _, in := range s.Inputs {
		if in.Host != "" {
			asks = append(asks, "mounts "+in.Host)
		}
		if strings.Contains(in.Filters, "mtime=now") {
			asks = append(asks, "sees the time at "+in.Port)
		}
	}
	return strings.Join(asks, " and ")
}

// waits returns a reason for each step of whose outputs s's key depends and that is
// not remembered.
func (x *explainer) waits(s *Step) (reasons []Reason) {
	var seen map[*Step]bool
	for i := range s.from {
		dep := s.from[i].step
		if dep == nil || seen[dep] || x.outputs(dep) != nil {
			continue
		}
		if seen == nil {
			seen = map[*Step]bool{}
		}
		seen[dep] = true
		reasons = append(reasons, Reason{Kind: ReasonWait, Name: dep.Addr, Text: "waits for what " + dep.Addr + " makes"})
	}
	return reasons
}

// outputs returns what a remembered step made; nil for any other step.
func (x *explainer) outputs(s *Step) map[string]warehouse.WareID {
	if i := x.at[s.Index]; i >= 0 && x.result[i].Memo != nil {
		return x.result[i].Memo.Outputs
	}
	return nil
}

// Remembered returns the memo of a step's key if it holds: it can be read, has all
// of the step's outputs, and their wares are in the warehouse, or in the one that the
// memo has come from. Otherwise the memo is nil and the reason says which of these is
// not so.
func Remembered(r *Resolved, o ExplainOptions) (*warehouse.Memo, Reason) {
	if o.Shared == nil {
		o.Shared = Alone{}
	}
	return o.remembered(r, nil)
}

// Holds reports whether a memo of the step's key makes running it needless.
func Holds(r *Resolved, memo *warehouse.Memo, o ExplainOptions) bool {
	if o.Shared == nil {
		o.Shared = Alone{}
	}
	return o.holds(r, memo) == nil
}

func (o *ExplainOptions) remembered(r *Resolved, cache memoCache) (*warehouse.Memo, Reason) {
	memo, err := cache.get(o.Memos, r.Key)
	if err != nil {
		reason := Reason{Kind: ReasonNoMemo, Text: "no memo of it: " + err.Error()}
		if missing := (*warehouse.MissingError)(nil); errors.As(err, &missing) && missing.Reason == nil {
			reason.Text = "not remembered"
		}
		return nil, reason
	}
	if reason := o.holds(r, memo); reason != nil {
		return nil, *reason
	}
	return memo, Reason{}
}

// holds returns why a memo of the step's key is of no use, or nil.
func (o *ExplainOptions) holds(r *Resolved, memo *warehouse.Memo) *Reason {
	reachable := false
	for i := range r.Outputs {
		name := r.Outputs[i].Name
		id, ok := memo.Outputs[name]
		if !ok {
			return &Reason{Kind: ReasonNoMemo, Name: name, Text: "its memo has no output " + name}
		}
		if reachable || o.Warehouse.Exists(id) {
			continue
		}
		if reachable = o.Shared.Reaches(memo); !reachable {
			return &Reason{Kind: ReasonWareGone, Name: name, Old: id.String(),
				Text: "its output " + name + ", " + Short(id) + ", is gone from the warehouse"}
		}
	}
	return nil
}

// addHistory replaces the reason why there is no memo by what differs from the last
// time.
func (x *explainer) addHistory(ctx context.Context, e *Explanation) {
	if e.State != StateRun || e.Reasons[0].Kind != ReasonNoMemo {
		return
	}
	last, ok := x.o.History.get(e.Step.Addr)
	switch {
	case !ok:
		e.Reasons = []Reason{{Kind: ReasonFirst, Text: "first time here"}}
	case last.key == string(e.Resolved.Key):
		e.Reasons[0].Text = "nothing changed, but its memo is gone"
	default:
		if changed := diffParts(last.parts, partsOf(&e.Resolved)); changed != nil {
			e.Reasons = changed
			x.addFiles(ctx, e)
		} else {
			e.Reasons = []Reason{{Kind: ReasonOther, Text: "something kiln cannot name changed"}}
		}
	}
}

// Pending returns the steps that are not remembered: those that run, or may.
func Pending(explanations []Explanation) []*Step {
	var steps []*Step
	for i := range explanations {
		if explanations[i].State != StateRemembered {
			steps = append(steps, explanations[i].Step)
		}
	}
	return steps
}
