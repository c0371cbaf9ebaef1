package plan

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/kilnbuild/kiln/warehouse"
)

// Shared is the warehouses beyond this machine, as package warehouse/remote has them.
// All of its methods may be called at any time, from several goroutines.
type Shared interface {
	// Any reports whether there is one to ask.
	Any() bool
	// Memo returns the memo of a step's key that is to be believed, or nil. Asked again
	// it says the same at once.
	Memo(ctx context.Context, key warehouse.StepKey) *warehouse.Memo
	// Foresee looks for a memo under an early key, for Memo to have at hand when it is
	// asked for the step's own.
	Foresee(ctx context.Context, early warehouse.StepKey)
	// Reaches reports whether the wares of a memo from elsewhere may be had there.
	Reaches(memo *warehouse.Memo) bool
	// Fetch brings a ware into the local warehouse. The error matches
	// warehouse.ErrMissing when no warehouse has it.
	Fetch(ctx context.Context, id warehouse.WareID, progress func(done, total int64)) (warehouse.Record, error)
}

// Alone is the Shared of a kiln that has no warehouse but its own.
type Alone struct{}

// Any is false.
func (Alone) Any() bool { return false }

// Memo is nil.
func (Alone) Memo(context.Context, warehouse.StepKey) *warehouse.Memo { return nil }

// Foresee does nothing.
func (Alone) Foresee(context.Context, warehouse.StepKey) {}

// Reaches is false.
func (Alone) Reaches(*warehouse.Memo) bool { return false }

// Fetch finds nothing.
func (Alone) Fetch(_ context.Context, id warehouse.WareID, _ func(done, total int64)) (warehouse.Record, error) {
	return warehouse.Record{}, &warehouse.MissingError{What: "ware " + id.String()}
}

// askJobs is how many memos are asked for at a time: an answer is mostly waiting.
const askJobs = 32

// askAll calls look for each of steps, askJobs at a time.
func askAll(steps []*Step, look func(*Step)) {
	if len(steps) == 1 {
		look(steps[0])
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(askJobs, len(steps)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(steps); i = int(next.Add(1)) - 1 {
				look(steps[i])
			}
		})
	}
	wg.Wait()
}

// ask looks for memos of those of steps, which do not need each other, that are not
// remembered here, and reports whether it has found one.
func (x *explainer) ask(ctx context.Context, steps []*Step) bool {
	var unknown []*Step
	for _, s := range steps {
		e := &x.result[x.at[s.Index]]
		if e.State == StateRun && (e.Reasons[0].Kind == ReasonNoMemo || e.Reasons[0].Kind == ReasonWareGone) {
			unknown = append(unknown, s)
		}
	}
	var found atomic.Bool
	askAll(unknown, func(s *Step) {
		e := &x.result[x.at[s.Index]]
		memo := x.o.Shared.Memo(ctx, e.Resolved.Key)
		if memo == nil || x.o.holds(&e.Resolved, memo) != nil {
			return
		}
		e.State, e.Memo, e.Reasons = StateRemembered, memo, nil
		found.Store(true)
	})
	return found.Load()
}
