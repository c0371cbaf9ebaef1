package exec

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/plan"
)

// An idle runner has no runs.
type idle struct{ Runner }

func (idle) ListRuns(context.Context, RunFilter) ([]Run, error) { return nil, nil }

func TestStepsAtOnceOnARunner(t *testing.T) {
	a := newAway(t.Context(), Options{Runners: Runners{
		AtOnce: map[string]int{"few": 2, "unsaid": 0},
		Open:   func(string) (Runner, error) { return idle{}, nil },
	}})
	defer a.close()
	for name, want := range map[string]int{"few": 2, "unsaid": DefaultAtOnce, "other": DefaultAtOnce} {
		p, err := a.place(name)
		if err != nil || cap(p.free) != want {
			t.Errorf("%s takes %d steps at once, want %d: %v", name, cap(p.free), want, err)
		}
	}
}

// A broken runner lets nothing begin, so many times.
type broken struct {
	idle
	times     int
	submitted int
}

func (b *broken) Submit(context.Context, JobSpec) (Run, error) {
	b.submitted++
	return Run{ID: fmt.Sprint(b.submitted)}, nil
}

func (b *broken) Logs(context.Context, string, bool, io.Writer, io.Writer) error { return nil }

func (b *broken) Wait(_ context.Context, id string) (Run, error) {
	if b.submitted <= b.times {
		return Run{ID: id, Status: RunFailed, Reason: ReasonNotBegun}, nil
	}
	return Run{ID: id, Status: RunFailed, Reason: ReasonSetup}, nil
}

// TestNotBegun: a step is submitted again when nothing of it has begun, and no other.
func TestNotBegun(t *testing.T) {
	for times, want := range map[int]int{0: 1, 1: 2, 2: 3, 9: maxBegins} {
		b := &broken{times: times}
		a := newAway(t.Context(), Options{Force: true, Runners: Runners{Open: func(string) (Runner, error) { return b, nil }}})
		e := a.carry(t.Context(), &state{Step: &plan.Step{Step: &formula.Step{}}}, "broken", JobSpec{})
		if e.err != nil || b.submitted != want || e.end.ID != fmt.Sprint(want) {
			t.Errorf("%d times: submitted %d times, want %d: run %s, %v", times, b.submitted, want, e.end.ID, e.err)
		}
		a.close()
	}
}
