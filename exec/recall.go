package exec

import (
	"errors"
	"slices"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
)

// Steps may be remembered by warehouses beyond this machine. They are asked for the
// memo of a step when its key is known, beside the loop; the wares of a memo that came
// from there are fetched when a step needs them, and if they are gone, the step that
// makes them runs after all.

// askJobs is how many memos are asked for at a time.
const askJobs = 32

// An answer is what warehouses beyond this machine say of a step.
type answer struct {
	st   *state
	memo *warehouse.Memo // nil: nothing
}

// ask asks for the memo of a step that is not remembered here. It is false if there is
// nobody to ask.
func (r *run) ask(st *state) bool {
	if r.Force || st.anew || !plan.Hermetic(st.Step.Step) || !r.Shared.Any() {
		return false
	}
	st.status = asking
	key := st.resolved.Key
	go func() {
		r.asked <- struct{}{}
		memo := r.Shared.Memo(r.ctx, key)
		<-r.asked
		select {
		case r.answers <- answer{st, memo}:
		case <-r.over:
		}
	}()
	return true
}

// answered goes on with a step that was asked for.
func (r *run) answered(a answer) {
	st := a.st
	if st.status != asking {
		return // stopped meanwhile
	}
	st.status, st.told, st.known = waiting, true, a.memo
	for _, i := range st.Deps {
		if r.states[i].status != done {
			st.unmet++ // what it made is gone, and it is made again
		}
	}
	if st.unmet == 0 {
		r.consider(st)
	}
}

// missingFrom returns the steps whose outputs the failed check could not find although
// they are remembered; nil if anything else failed.
func (r *run) missingFrom(c checkResult) []*state {
	var makers []*state
	for _, f := range c.failed {
		i := slices.IndexFunc(c.st.Inputs, func(in formula.Input) bool { return in.Port == f.port })
		if !errors.Is(f.err, warehouse.ErrMissing) || i < 0 || c.st.Inputs[i].From.Step == "" {
			return nil
		}
		maker := r.states[r.plan.ByAddr[c.st.Inputs[i].From.Step].Index]
		if maker.status == done && !maker.remembered {
			return nil // it was just made, and is gone: not for us to mend
		}
		if !slices.Contains(makers, maker) {
			makers = append(makers, maker)
		}
	}
	return makers
}

// makeAgain lets st wait for steps that are remembered but whose wares cannot be had.
func (r *run) makeAgain(st *state, makers []*state) {
	st.status, st.unmet, st.told, st.known = waiting, 0, false, nil
	if st.container != noContainer {
		r.ahead++
	}
	for _, m := range makers {
		if m.status != done {
			st.unmet++ // another step has asked for it already
			continue
		}
		m.status, m.unmet, m.anew, m.remembered = waiting, 0, true, false
		m.outputs = nil
		delete(r.result.Steps, m.Addr)
		r.result.Remembered--
		r.left++
		for _, i := range m.Needed {
			if next := r.states[i]; next != nil && next.status == waiting {
				next.unmet++
			}
		}
		r.emit(Event{Kind: StepForgotten, Step: m.Step})
	}
	for _, m := range makers {
		if m.status == waiting && m.unmet == 0 {
			r.consider(m)
		}
	}
}
