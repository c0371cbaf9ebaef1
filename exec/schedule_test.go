package exec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/exec/container/wire"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/warehouse"
)

// A fake takes jobs as the container backend does and ends them when told to. It
// stands in where only the order of things is tested.
type fake struct {
	t       *testing.T
	events  chan wire.Frame
	mu      sync.Mutex
	names   map[int64]string
	live    map[int64]bool // prepared or running
	now     int            // running
	most    int            // running at once
	start   func(name string) (code int)
	ended   []string
	asked   map[string]chan struct{} // closed when a job is asked to end
	doing   sync.WaitGroup
	started map[int64]bool
	gone    bool
}

func (f *fake) send(kind wire.Kind, v any) {
	payload, err := json.Marshal(v)
	if err != nil {
		f.t.Error(err)
	}
	f.events <- wire.Frame{Kind: kind, Payload: payload}
}

func (f *fake) Prepare(j wire.Job) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.live[j.ID] {
		f.t.Errorf("%s is prepared twice", j.Name)
	}
	f.names[j.ID], f.live[j.ID] = j.Name, true
	f.asked[j.Name] = make(chan struct{})
	f.doing.Go(func() { f.send(wire.KindPrepared, wire.Prepared{ID: j.ID}) })
	return nil
}

func (f *fake) Start(s wire.Start) error {
	f.mu.Lock()
	name := f.names[s.ID]
	if !f.live[s.ID] {
		f.t.Errorf("%s starts without being prepared", name)
	}
	f.started[s.ID] = true
	f.now++
	f.most = max(f.most, f.now)
	asked := f.asked[name]
	f.mu.Unlock()
	f.doing.Go(func() {
		code, runs := f.start(name), true
		if code == untilAsked {
			<-asked
		}
		f.mu.Lock()
		f.now--
		ended := slices.Contains(f.ended, name)
		f.mu.Unlock()
		if ended {
			code, runs = -1, false
		}
		f.send(wire.KindExited, wire.Exited{ID: s.ID, Code: code, Ended: ended, Entry: -1})
		if runs && code == 0 {
			id := warehouse.WareID{Packtype: "tree", Hash: name[len("step."):] + "-1"}
			f.send(wire.KindPacked, wire.Packed{ID: s.ID, Outputs: map[string]warehouse.Record{"out": {ID: id}}})
		}
	})
	return nil
}

func (f *fake) End(id int64, _ time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = append(f.ended, f.names[id])
	close(f.asked[f.names[id]])
	if !f.started[id] {
		f.doing.Go(func() { f.send(wire.KindFailed, wire.Failed{ID: id, Stage: wire.StagePrepare, Err: "given up"}) })
	}
	f.live[id] = false
	return nil
}

func (f *fake) PrepareWith(j wire.Job, _ []*os.File) error { return f.Prepare(j) }

func (f *fake) MayRunAs(int, int) error   { return nil }
func (f *fake) Events() <-chan wire.Frame { return f.events }
func (f *fake) Gone() error               { return errors.New("the backend is gone") }
func (f *fake) Close()                    { f.gone = true; f.doing.Wait(); close(f.events) }

// graph runs steps whose names are keys and whose needs are values on a fake.
func graph(t *testing.T, needs map[string][]string, o Options, start func(string) int) (Result, []string, *fake, error) {
	t.Helper()
	local, err := warehouse.OpenLocal(filepath.Join(t.TempDir(), "warehouse"))
	if err != nil {
		t.Fatal(err)
	}
	memos, err := warehouse.OpenMemos(filepath.Join(t.TempDir(), "memo"))
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{TB: t, formula: &formula.Formula{}, wares: map[string]warehouse.WareID{}, logs: map[string][]string{}}
	added := map[string]bool{}
	for len(added) < len(needs) { // in topological order, ties by name
		names := make([]string, 0, len(needs))
		for name := range needs {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			if added[name] || slices.ContainsFunc(needs[name], func(n string) bool { return !added[n] }) {
				continue
			}
			s := f.step(name)
			s.Inputs = nil
			for _, need := range needs[name] {
				s.DependsOn = append(s.DependsOn, "step."+need)
			}
			output(s, "out", "/out")
			added[name] = true
		}
	}
	fk := &fake{t: t, events: make(chan wire.Frame, 64), names: map[int64]string{}, live: map[int64]bool{}, started: map[int64]bool{}, asked: map[string]chan struct{}{}, start: start}
	o.Warehouse, o.Memos, o.Observe = local, memos, f.observe
	r := &run{Options: o, ctx: context.Background(), plan: f.plan(), open: func() (backend, error) { return fk, nil }}
	result, err := r.run()
	if !fk.gone && len(fk.names) > 0 {
		t.Error("the backend was not closed")
	}
	return result, f.events, fk, err
}

func well(string) int { return 0 }

// untilAsked is the exit code of a job that runs until it is asked to end.
const untilAsked = -99

func TestDependenciesRunFirst(t *testing.T) {
	result, events, _, err := graph(t, map[string][]string{"a": nil, "b": {"a"}, "c": {"a"}, "d": {"b", "c"}}, Options{Jobs: 4}, well)
	if err != nil || result.Ran != 4 {
		t.Fatalf("%+v %v", result, err)
	}
	for _, pair := range [][2]string{{"a", "b"}, {"a", "c"}, {"b", "d"}, {"c", "d"}} {
		if slices.Index(events, "done step."+pair[0]) > slices.Index(events, "started step."+pair[1]) {
			t.Errorf("%s starts before %s is done: %v", pair[1], pair[0], events)
		}
	}
}

func TestJobsIsALimitThatIsReached(t *testing.T) {
	const jobs = 3
	needs := map[string][]string{}
	for i := range 20 {
		needs[fmt.Sprintf("s%02d", i)] = nil
	}
	var together sync.WaitGroup
	together.Add(jobs)
	first := sync.OnceFunc(func() { together.Wait() })
	var mu sync.Mutex
	started := 0
	_, _, backend, err := graph(t, needs, Options{Jobs: jobs}, func(string) int {
		mu.Lock()
		if started++; started <= jobs {
			together.Done()
		}
		mu.Unlock()
		first() // hangs unless as many run at once as may
		return 0
	})
	if err != nil || backend.most != jobs {
		t.Errorf("%d at once, want %d; %v", backend.most, jobs, err)
	}
}

func TestFailFast(t *testing.T) {
	result, events, backend, err := graph(t, map[string][]string{"a": nil, "b": nil, "c": {"a"}, "d": {"c"}, "e": {"b"}}, Options{Jobs: 2}, func(name string) int {
		if name == "step.a" {
			return 1
		}
		return untilAsked
	})
	if !errors.Is(err, ErrFailed) || len(result.Failed) != 1 || result.Failed[0].Step.Addr != "step.a" {
		t.Fatalf("%+v %v", result, err)
	}
	if slices.Contains(events, "started step.c") || slices.Contains(events, "started step.e") {
		t.Errorf("something started after the failure: %v", events)
	}
	if result.Skipped+result.Ran != 4 || backend.now != 0 {
		t.Errorf("%+v, %d still running", result, backend.now)
	}
}

func TestKeepGoing(t *testing.T) {
	result, events, _, err := graph(t, map[string][]string{"a": nil, "b": nil, "c": {"a"}, "d": {"c"}, "e": {"b"}}, Options{Jobs: 2, KeepGoing: true}, func(name string) int {
		if name == "step.a" {
			return 1
		}
		return 0
	})
	if !errors.Is(err, ErrFailed) || result.Ran != 2 || result.Skipped != 2 || !slices.Contains(events, "done step.e") {
		t.Errorf("%+v %v %v", result, err, events)
	}
}

func TestBackendThatGoes(t *testing.T) {
	local, _ := warehouse.OpenLocal(filepath.Join(t.TempDir(), "w"))
	memos, _ := warehouse.OpenMemos(filepath.Join(t.TempDir(), "m"))
	f := &fixture{TB: t, formula: &formula.Formula{}, wares: map[string]warehouse.WareID{}}
	f.step("a").Inputs = nil
	r := &run{Options: Options{Warehouse: local, Memos: memos}, ctx: context.Background(), plan: f.plan(), open: func() (backend, error) { return newGone(), nil }}
	if _, err := r.run(); err == nil || err.Error() != "the backend is gone" {
		t.Errorf("%v", err)
	}
}

// gone is a backend that goes as soon as it is there.
type gone struct{ events chan wire.Frame }

func newGone() gone {
	g := gone{make(chan wire.Frame)}
	close(g.events)
	return g
}

func (gone) MayRunAs(int, int) error                { return nil }
func (gone) Prepare(wire.Job) error                 { return nil }
func (gone) PrepareWith(wire.Job, []*os.File) error { return nil }
func (gone) Start(wire.Start) error                 { return nil }
func (gone) End(int64, time.Duration) error         { return nil }
func (g gone) Events() <-chan wire.Frame            { return g.events }
func (gone) Gone() error                            { return errors.New("the backend is gone") }
func (gone) Close()                                 {}
