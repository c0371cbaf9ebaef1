package exec

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// elsewhere is another machine's warehouse as this one's plan.Shared.
type elsewhere struct {
	*fixture
	here    *fixture
	mu      sync.Mutex
	asked   int
	fetched []warehouse.WareID
	lost    map[warehouse.WareID]bool
}

func (e *elsewhere) Any() bool                                  { return true }
func (e *elsewhere) Reaches(*warehouse.Memo) bool               { return true }
func (e *elsewhere) Foresee(context.Context, warehouse.StepKey) {}

func (e *elsewhere) Memo(_ context.Context, key warehouse.StepKey) *warehouse.Memo {
	e.mu.Lock()
	e.asked++
	e.mu.Unlock()
	memo, err := e.memos.Get(key)
	if err != nil {
		return nil
	}
	memo.Origin = "test://elsewhere"
	if err := e.here.memos.Put(*memo); err != nil {
		e.Error(err)
	}
	return memo
}

func (e *elsewhere) Fetch(ctx context.Context, id warehouse.WareID, _ func(done, total int64)) (warehouse.Record, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	rec, err := e.local.Get(id)
	if err != nil || e.lost[id] {
		return warehouse.Record{}, &warehouse.MissingError{What: "ware " + id.String()}
	}
	e.fetched = append(e.fetched, id)
	return pack.Ingest(ctx, e.here.local, e.local.Fileset(rec), pack.Options{Filters: pack.KeepFilters()})
}

// chainOf makes a chain of steps a, b and c.
func chainOf(f *fixture, last string) {
	f.formula.Steps = nil
	for i, name := range []string{"a", "b", "c"} {
		s := f.step(name, "write:/out/file="+name)
		if name == "c" {
			s.Env = []formula.EnvVar{{Name: "LAST", Value: last}}
		}
		if i > 0 {
			input(s, "/in", "step."+string(rune('a'+i-1))+".out", formula.ReadOnly)
		}
		output(s, "out", "/out")
	}
}

// TestRecall runs a chain on one machine and then on another that shares with it.
func TestRecall(t *testing.T) {
	there := newFixture(t)
	chainOf(there, "1")
	made := there.must()
	for _, tt := range []struct {
		name    string
		last    string   // of the step c
		lost    []string // steps whose outputs are gone over there
		started []string
		fetched []string
	}{
		{"all remembered", "1", nil, nil, nil},
		{"the last one changed", "2", nil, []string{"c"}, []string{"b"}},
		{"its input is gone", "2", []string{"b"}, []string{"b", "c"}, []string{"a"}},
		{"all is gone", "2", []string{"a", "b"}, []string{"a", "b", "c"}, nil},
		{"what is not needed is gone", "1", []string{"a", "b", "c"}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			here := newFixture(t)
			chainOf(here, tt.last)
			e := &elsewhere{fixture: there, here: here, lost: map[warehouse.WareID]bool{}}
			for _, name := range tt.lost {
				e.lost[made.Steps["step."+name]["out"]] = true
			}
			here.options.Shared = e
			var told []Made
			here.options.Made = func(m Made) { told = append(told, m) }
			result := here.must()
			var started []string
			for _, event := range here.events {
				if name, ok := strings.CutPrefix(event, "started step."); ok {
					started = append(started, name)
				}
			}
			if !slices.Equal(started, tt.started) || result.Ran != len(tt.started) || result.Remembered != 3-len(tt.started) {
				t.Errorf("ran %v (%d, %d remembered), want %v; events %v", started, result.Ran, result.Remembered, tt.started, here.events)
			}
			var fetched []warehouse.WareID
			for _, name := range tt.fetched {
				fetched = append(fetched, made.Steps["step."+name]["out"])
			}
			if !slices.Equal(e.fetched, fetched) {
				t.Errorf("fetched %v, want %v", e.fetched, fetched)
			}
			for addr, outputs := range made.Steps {
				if (addr != "step.c" || tt.last == "1") && result.Steps[addr]["out"] != outputs["out"] {
					t.Errorf("%s made %s, want %s", addr, result.Steps[addr]["out"], outputs["out"])
				}
			}
			if len(told) != len(tt.started) {
				t.Errorf("told of %d steps made, want %d", len(told), len(tt.started))
			}
			for _, m := range told {
				if m.Memo.Key == "" || m.Step.Addr != m.Memo.Step {
					t.Errorf("told of %+v", m)
				}
			}
			before := e.asked
			if again := here.must(); again.Ran != 0 || e.asked != before {
				t.Errorf("again: ran %d, asked %d times more; events %v", again.Ran, e.asked-before, here.events)
			}
		})
	}
}
