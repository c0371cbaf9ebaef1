package exec

import (
	"context"
	"testing"
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
