package plan

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/warehouse"
)

// team is what others have pushed, and counts what it is asked.
type team struct {
	Alone
	mu       sync.Mutex
	memos    map[warehouse.StepKey]*warehouse.Memo
	early    map[warehouse.StepKey]*warehouse.Memo
	foreseen map[warehouse.StepKey]*warehouse.Memo
	asked    int // by step key, of what was not foreseen
	ahead    int // by early key
}

func (tm *team) Any() bool                    { return true }
func (tm *team) Reaches(*warehouse.Memo) bool { return true }

func (tm *team) Memo(_ context.Context, key warehouse.StepKey) *warehouse.Memo {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	if memo := tm.foreseen[key]; memo != nil {
		return memo
	}
	tm.asked++
	return tm.memos[key]
}

func (tm *team) Foresee(_ context.Context, early warehouse.StepKey) {
	tm.mu.Lock()
	defer tm.mu.Unlock()
	tm.ahead++
	if memo := tm.early[early]; memo != nil {
		tm.foreseen[memo.Key] = memo
	}
}

// push has the team remember what w remembers of p.
func (tm *team) push(w *world, p *Plan) {
	w.t.Helper()
	early := p.EarlyKeys()
	for _, e := range w.explain(p) {
		if e.Memo == nil {
			w.t.Fatalf("%s is not remembered", e.Step.Addr)
		}
		memo := *e.Memo
		memo.Origin = "test://team"
		tm.memos[memo.Key], tm.early[early[e.Step.Index]] = &memo, &memo
	}
}

// chain is n steps, of which each takes what the one before makes; cwds are those of some.
func chain(t testing.TB, n int, cwds map[int]string) *Plan {
	steps := []*formula.Step{step("step.s0")}
	for i := 1; i < n; i++ {
		steps = append(steps, step(fmt.Sprintf("step.s%d", i), from("/in", fmt.Sprintf("step.s%d", i-1))))
	}
	for i, cwd := range cwds {
		steps[i].Cwd = cwd
	}
	return mustNew(t, steps...)
}

func TestForesee(t *testing.T) {
	const n = 40
	for _, tt := range []struct {
		name         string
		pushed       []map[int]string // the chains that the team remembers
		cwds         map[int]string   // of the chain that is explained
		remembered   int
		asked, ahead int
	}{
		{name: "nothing is there", asked: 1},
		{name: "all is there", pushed: []map[int]string{nil}, remembered: n, asked: 1, ahead: n - 1},
		{name: "a step is another", pushed: []map[int]string{nil}, cwds: map[int]string{10: "/x"}, remembered: 10, asked: 2, ahead: n - 1},
		{name: "an early step is another", pushed: []map[int]string{nil}, cwds: map[int]string{2: "/x"}, remembered: 2, asked: 2, ahead: 8},
		{name: "the last is another", pushed: []map[int]string{nil}, cwds: map[int]string{n - 1: "/x"}, remembered: n - 1, asked: 2, ahead: n - 1},
		{name: "the first is another", pushed: []map[int]string{nil}, cwds: map[int]string{0: "/x"}, asked: 1},
		{name: "two chains", pushed: []map[int]string{{10: "/x"}, {20: "/x"}}, cwds: map[int]string{20: "/x"}, remembered: n, asked: 1, ahead: n - 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tm := &team{memos: map[warehouse.StepKey]*warehouse.Memo{}, early: map[warehouse.StepKey]*warehouse.Memo{}, foreseen: map[warehouse.StepKey]*warehouse.Memo{}}
			for _, cwds := range tt.pushed {
				there := newWorld(t)
				p := chain(t, n, cwds)
				there.run(p)
				tm.push(there, p)
			}
			here := newWorld(t)
			here.Shared = tm
			remembered := 0
			for _, e := range here.explain(chain(t, n, tt.cwds)) {
				if e.State == StateRemembered {
					remembered++
				}
			}
			if remembered != tt.remembered || tm.asked != tt.asked || tm.ahead != tt.ahead {
				t.Errorf("%d are remembered, %d asked for, %d looked for ahead; want %d, %d, %d",
					remembered, tm.asked, tm.ahead, tt.remembered, tt.asked, tt.ahead)
			}
		})
	}
}

// TestForeseeNothingLocal has all that is remembered here: nobody is asked.
func TestForeseeNothingLocal(t *testing.T) {
	w, tm := newWorld(t), &team{}
	w.run(diamond(t))
	w.Shared = tm
	w.explain(diamond(t))
	if tm.asked != 0 || tm.ahead != 0 {
		t.Errorf("%d asked for, %d looked for ahead", tm.asked, tm.ahead)
	}
}

// TestForeseeWrongly has early keys lead to memos of other steps.
func TestForeseeWrongly(t *testing.T) {
	there, p := newWorld(t), chain(t, 8, nil)
	there.run(p)
	tm := &team{memos: map[warehouse.StepKey]*warehouse.Memo{}, early: map[warehouse.StepKey]*warehouse.Memo{}, foreseen: map[warehouse.StepKey]*warehouse.Memo{}}
	tm.push(there, p)
	other := &warehouse.Memo{Key: warehouse.StepKey(hexSum("another step")), Outputs: map[string]warehouse.WareID{"out": idA}}
	for early := range tm.early {
		tm.early[early] = other
	}
	here := newWorld(t)
	here.Shared = tm
	want := there.explain(p)
	for i, e := range here.explain(chain(t, 8, nil)) {
		if e.State != StateRemembered || e.Memo.Outputs["out"] != want[i].Memo.Outputs["out"] {
			t.Errorf("%s is %s, with %v", e.Step.Addr, e.State, e.Memo)
		}
	}
	if tm.asked != 8 {
		t.Errorf("%d asked for, want 8", tm.asked)
	}
}

func TestEarlyKeys(t *testing.T) {
	one, other := diamond(t).EarlyKeys(), chain(t, 5, map[int]string{2: "/x"}).EarlyKeys()
	if first, err := diamond(t).ResolveStep(diamond(t).Steps[0], nil); err != nil || one[0] != first.Key {
		t.Errorf("the early key of a step that needs none is %s, want its step key; %v", one[0], err)
	}
	plain := chain(t, 5, nil).EarlyKeys()
	for i := range plain {
		if (plain[i] == other[i]) != (i < 2) {
			t.Errorf("step %d of two chains that differ from step 2 on: %s and %s", i, plain[i], other[i])
		}
		if i > 0 && plain[i] == plain[i-1] {
			t.Errorf("steps %d and %d have the same early key", i-1, i)
		}
	}
}
