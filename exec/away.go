package exec

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
)

// Labels of the runs that are steps, by which a later kiln finds them.
const (
	LabelStepKey = "kiln.step-key"
	LabelStep    = "kiln.step"    // its address
	LabelSession = "kiln.session" // of the kiln that submitted it
)

// Runners says which steps run elsewhere than in containers of this run's own, and how
// their runners are reached. Its zero value is none.
type Runners struct {
	All      string                            // where every step runs, whatever it says; "": where it says
	Fallback string                            // where those run that say nothing; "": OwnContainers
	Open     func(name string) (Runner, error) // called once for each name; safe for concurrent use
	Session  string                            // the label of runs that this kiln submits
	Alive    func(session string) bool         // whether the kiln that submitted a run still runs
	AtOnce   map[string]int                    // steps on a runner at a time, by its name; 0: DefaultAtOnce
	LogLimit int64                             // of each step's run; 0: none
}

// OwnContainers is the name of the runner that needs no other: containers that the run
// makes itself.
const OwnContainers = "container"

// DefaultAtOnce is how many steps are on one runner at a time, queues included: enough to fill a cluster's
// queue, and few enough that an API server notices nothing.
const DefaultAtOnce = 64

// Of returns the name of a step's runner; "" for containers of this run.
func (r Runners) Of(s *plan.Step) string {
	if s.Action.Call != nil || s.Action.Echo {
		return "" // they are kiln's own business
	}
	for _, name := range []string{r.All, s.Runner, r.Fallback} {
		if name == OwnContainers {
			return ""
		} else if name != "" {
			return name
		}
	}
	return ""
}

// away runs the steps of a run that other runners carry out.
type away struct {
	Runners
	ctx    context.Context
	cancel context.CancelFunc
	local  *warehouse.Local
	shared plan.Shared
	anew   bool // runs of before do not count
	events chan awayEvent
	ended  chan struct{} // closed when nobody reads events any more
	under  sync.WaitGroup
	mu     sync.Mutex
	opened map[string]func() (*place, error) // by name
}

// A place is a runner with what this run of kiln knows of it.
type place struct {
	Runner
	free    chan struct{}    // takes one for each step there
	earlier map[string][]Run // that earlier kilns submitted, by step key, the oldest first
}

// memory is how far back runs of earlier kilns count.
const memory = 14 * 24 * time.Hour

// An awayEvent is one thing that happened to a step on another runner.
type awayEvent struct {
	st      *state
	started bool
	line    []byte                      // of its log
	end     *Run                        // it has ended, or
	err     error                       // it was not taken, or nothing is known of it any more
	records map[string]warehouse.Record // of what it made, by output
}

func newAway(ctx context.Context, o Options) *away {
	a := &away{
		Runners: o.Runners, local: o.Warehouse, shared: o.Shared, anew: o.Force, events: make(chan awayEvent, 64), ended: make(chan struct{}),
		opened: map[string]func() (*place, error){},
	}
	a.ctx, a.cancel = context.WithCancel(ctx)
	return a
}

// close ends what runs and waits for it.
func (a *away) close() {
	a.cancel()
	close(a.ended)
	a.under.Wait()
}

func (a *away) send(e awayEvent) {
	select {
	case a.events <- e:
	case <-a.ended:
	}
}

// place opens a runner.
func (a *away) place(name string) (*place, error) {
	a.mu.Lock()
	if a.opened[name] == nil {
		a.opened[name] = sync.OnceValues(func() (*place, error) { return a.open(a.ctx, name) })
	}
	open := a.opened[name]
	a.mu.Unlock()
	return open()
}

// open opens a runner and looks once for all steps which runs there are.
func (a *away) open(ctx context.Context, name string) (*place, error) {
	if a.Open == nil {
		return nil, errors.New("no runners were given")
	}
	runner, err := a.Open(name)
	if err != nil {
		return nil, err
	}
	p := &place{Runner: runner, free: make(chan struct{}, cmp.Or(a.AtOnce[name], DefaultAtOnce)), earlier: map[string][]Run{}}
	if a.anew {
		return p, nil
	}
	// Without those that cannot be read, steps are done again.
	runs, _ := runner.ListRuns(ctx, RunFilter{Status: []RunStatus{RunPending, RunRunning, RunSucceeded}, Since: time.Now().Add(-memory)})
	for _, run := range runs {
		if key := run.Spec.Labels[LabelStepKey]; key != "" {
			p.earlier[key] = append(p.earlier[key], run)
		}
	}
	return p, nil
}

// startAway has a step run elsewhere. It needs no slot of this machine's.
func (r *run) startAway(st *state, name string, root warehouse.WareID) {
	r.slots++
	ctx, cancel := context.WithCancel(r.away.ctx)
	st.status, st.cancel = running, cancel
	spec := r.jobSpec(st, root)
	r.away.under.Go(func() {
		defer cancel()
		r.away.send(r.away.carry(ctx, st, name, spec))
	})
}

// jobSpec is a step as other runners take it. root is its root ware, with its filters
// applied.
func (r *run) jobSpec(st *state, root warehouse.WareID) JobSpec {
	uid, gid := ids(st.User)
	s := JobSpec{
		Name: st.Addr, Command: st.Action.Exec, Script: st.Action.Script, Continue: st.Action.Continue,
		Env: environment(st.Step), Dir: st.Cwd, User: fmt.Sprintf("%d:%d", uid, gid), Root: root,
		Resources: r.resourcesOf(st.Step), Network: st.Network, Timeout: st.Timeout, LogLimit: r.Runners.LogLimit,
		Labels: map[string]string{LabelStepKey: string(st.resolved.Key), LabelStep: st.Addr},
	}
	if r.Runners.Session != "" {
		s.Labels[LabelSession] = r.Runners.Session
	}
	if len(s.Script) > 0 {
		s.Command = st.Action.Interpreter
	}
	for _, in := range st.resolved.Inputs {
		switch {
		case in.Host != "":
			s.Mounts = append(s.Mounts, JobMount{Port: in.Port, Host: in.Host, Writable: in.Mode == formula.ReadWrite})
		case in.Port != "/":
			s.Inputs = append(s.Inputs, JobInput{Port: in.Port, Ware: in.Ware, Mode: in.Mode, Filters: in.Filters})
		}
	}
	for _, o := range st.Outputs {
		s.Outputs = append(s.Outputs, JobOutput{Name: o.Name, Path: o.Path, Packtype: o.Packtype, Filters: o.Filters})
	}
	return s
}

// carry has a step carried out: by the run that an earlier kiln submitted, if it goes on
// or has ended well, else by a new one. The event is that of its end.
func (a *away) carry(ctx context.Context, st *state, name string, spec JobSpec) awayEvent {
	runner, err := a.place(name)
	if err != nil {
		return awayEvent{st: st, err: err}
	}
	select {
	case runner.free <- struct{}{}:
		defer func() { <-runner.free }()
	case <-ctx.Done():
		return awayEvent{st: st, err: ctx.Err()}
	}
	if found, records := a.find(ctx, runner, st); records != nil {
		return awayEvent{st: st, end: found, records: records}
	} else if found != nil {
		e := a.attend(ctx, runner, st, *found, a.orphaned(*found))
		if !a.again(ctx, e) {
			return e
		}
	}
	for try := 1; ; try++ {
		run, err := runner.Submit(ctx, spec)
		if err != nil {
			return awayEvent{st: st, err: err}
		}
		e := a.attend(ctx, runner, st, run, true)
		if try == maxBegins || e.err != nil || ctx.Err() != nil || e.end.Reason != ReasonNotBegun {
			return e
		}
	}
}

// maxBegins is how often a step is submitted of which the environment lets nothing begin,
// as overloaded nodes do.
const maxBegins = 3

// again reports whether a step has to be submitted although a run of it was followed:
// that came to no end of its own.
func (a *away) again(ctx context.Context, e awayEvent) bool {
	if ctx.Err() != nil || e.err != nil {
		return false
	}
	return e.end.Status == RunCancelled || e.end.Status == RunFailed && (e.end.Reason == ReasonLost || e.end.Reason == ReasonNotBegun)
}

// find returns the run of a step that an earlier kiln has submitted and that need not be
// done again, or nil. Of one that has ended well, what it made is there.
func (a *away) find(ctx context.Context, p *place, st *state) (*Run, map[string]warehouse.Record) {
	if !plan.Hermetic(st.Step.Step) {
		return nil, nil
	}
	for _, run := range slices.Backward(p.earlier[string(st.resolved.Key)]) {
		if !run.Status.Ended() {
			return &run, nil
		}
		if run.Offline == OfflineNone {
			continue // it counts for that one time only
		}
		if records, err := a.made(ctx, st, run); err == nil {
			return &run, records
		}
	}
	return nil, nil
}

// made returns what a run that has ended well made: it is in the warehouse then, and
// stays there.
func (a *away) made(ctx context.Context, st *state, run Run) (map[string]warehouse.Record, error) {
	records := make(map[string]warehouse.Record, len(st.Outputs))
	for _, o := range st.Outputs {
		id, ok := run.Outputs[o.Name]
		if !ok {
			return nil, &outputError{o.Name, fmt.Errorf("run %s says nothing of it", run.ID)}
		}
		err := a.local.Hold(id)
		if errors.Is(err, warehouse.ErrMissing) {
			_, err = a.shared.Fetch(ctx, id, nil)
		}
		if err == nil {
			records[o.Name], err = a.local.Get(id)
		}
		if err != nil {
			return nil, &outputError{o.Name, fmt.Errorf("made by run %s: %w", run.ID, err)}
		}
	}
	return records, nil
}

// An outputError is about an output of a step on another runner.
type outputError struct {
	name string
	err  error
}

func (e *outputError) Error() string { return "output " + e.name + ": " + e.err.Error() }
func (e *outputError) Unwrap() error { return e.err }

// orphaned reports whether nobody else cares for a run any more.
func (a *away) orphaned(run Run) bool {
	session := run.Spec.Labels[LabelSession]
	return session == "" || session == a.Session || a.Alive == nil || !a.Alive(session)
}

// attend follows a run to its end. When ctx ends, the run is cancelled if it is ours.
func (a *away) attend(ctx context.Context, runner Runner, st *state, run Run, ours bool) awayEvent {
	a.send(awayEvent{st: st, started: true})
	log := lineSender{a, st}
	err := runner.Logs(ctx, run.ID, true, log, log)
	if err == nil {
		run, err = runner.Wait(ctx, run.ID)
	}
	if ctx.Err() != nil && ours {
		last, stop := context.WithTimeout(context.WithoutCancel(ctx), awayGrace)
		defer stop()
		run, err = runner.Cancel(last, run.ID)
	}
	e := awayEvent{st: st, end: &run, err: err}
	if err == nil && run.Status == RunSucceeded {
		e.records, e.err = a.made(ctx, st, run)
	}
	return e
}

// awayGrace is how long a run may take to end that was cancelled: less than cancelGrace.
const awayGrace = 15 * time.Second

// A lineSender passes on what a step's run writes.
type lineSender struct {
	*away
	st *state
}

func (l lineSender) Write(p []byte) (int, error) {
	l.send(awayEvent{st: l.st, line: bytes.Clone(p)})
	return len(p), nil
}

// awayEvent takes in what happened to a step on another runner.
func (r *run) awayEvent(e awayEvent) {
	st := e.st
	log := func(line []byte) { r.emit(Event{Kind: StepLog, Step: st.Step, Line: line}) }
	switch {
	case e.line != nil:
		st.log.Write(e.line, log)
		return
	case e.started:
		if st.began.IsZero() {
			st.began = time.Now()
			r.emit(Event{Kind: StepStarted, Step: st.Step})
		}
		return
	}
	st.log.Flush(log)
	var output *outputError
	switch {
	case r.stopping && (e.err != nil || e.end.Status == RunCancelled):
		r.skip(st)
	case errors.As(e.err, &output):
		r.fail(st, &StepError{Failure: FailedOutput, Output: output.name, Err: e.err})
	case e.err != nil:
		r.fail(st, &StepError{Failure: FailedSetup, Err: e.err})
	case e.end.Status != RunSucceeded:
		r.fail(st, awayError(e.end))
	default:
		st.away = e.end
		r.slots-- // ended gives back one, which the step did not have
		r.ended(st, e.records, e.end.Ended.Sub(e.end.Started))
	}
}

// awayError says how a step failed elsewhere.
func awayError(run *Run) *StepError {
	e := &StepError{Failure: FailedSetup, Entry: -1}
	if run.Entry != nil {
		e.Entry = *run.Entry
	}
	text := fmt.Errorf("run %s of the runner %s: %s: %s", run.ID, run.Runner, run.Reason, run.Message)
	switch run.Reason {
	case ReasonExit:
		e.Failure, e.ExitCode = FailedExit, run.ExitStatus()
	case ReasonSignal:
		e.Failure, e.Signal = FailedSignal, run.Signal
	case ReasonTimeout:
		e.Failure = FailedTimeout
	case ReasonOutOfMemory:
		e.Failure, e.Err = FailedMemory, fmt.Errorf("ran out of memory: %s", run.Message)
	case ReasonInput:
		e.Failure, e.Err = FailedInput, text
	case ReasonOutput:
		e.Failure, e.Err = FailedOutput, text
	default:
		e.Err = text
		if run.Status == RunCancelled {
			e.Err = fmt.Errorf("run %s of the runner %s was cancelled by somebody", run.ID, run.Runner)
		}
	}
	return e
}
