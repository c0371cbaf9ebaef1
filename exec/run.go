package exec

import (
	"cmp"
	"context"
	"maps"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/container/joblog"
	"github.com/kilnbuild/kiln/exec/container/wire"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
)

// A backend makes containers for jobs: container.Executor, or a fake in tests of
// scheduling.
type backend interface {
	MayRunAs(uid, gid int) error
	Prepare(wire.Job) error
	PrepareWith(wire.Job, []*os.File) error
	Start(wire.Start) error
	End(id int64, grace time.Duration) error
	Events() <-chan wire.Frame // closed when the backend is gone
	Gone() error
	Close()
}

// endGrace is how long steps may take to end after the run was cancelled.
const endGrace = 3 * time.Second

// cancelGrace is how long a cancelled run waits for what it asked to end and for
// outputs that are being packed.
const cancelGrace = 20 * time.Second

// status is where a step is.
type status int

const (
	waiting  status = iota // for steps it needs
	asking                 // whether another machine remembers it
	runnable               // its inputs are known, it is not remembered, and it waits for a slot
	checking               // has a slot; its inputs are being looked at
	starting               // has a slot; its container is being made
	running
	done
	failedOrSkipped
)

// A state is a step in a run. A step's job has the id index+1.
type state struct {
	*plan.Step
	status    status
	unmet     int // steps it waits for
	resolved  plan.Resolved
	inputs    []wire.Mount // all of them, once they have been looked at
	late      []string     // ports not mounted when its container was made
	container containerState
	group     *container.Group // that limits it; nil: none
	away      *Run             // of another runner that carried it out, once it has ended
	oom       bool             // one of its processes was ended for want of memory
	notAhead  bool             // making its container ahead of time failed once
	began     time.Time
	exited    *wire.Exited
	log       joblog.Tail
	outputs   map[string]warehouse.WareID
	cancel    context.CancelFunc // of a call that runs

	remembered bool            // it is done by its memo
	told       bool            // other machines were asked for its memo
	known      *warehouse.Memo // what they said; nil: nothing
	anew       bool            // its memo counts no more: what it made is gone
}

type containerState int

const (
	noContainer containerState = iota
	beingMade
	ready
)

// A run is one call of RunPlan. Its fields belong to the goroutine in loop.
type run struct {
	Options
	ctx      context.Context
	plan     *plan.Plan
	states   []*state
	runnable []*state // in plan order
	busy     []*state // with a slot, and some that had one
	slots    int      // free ones
	begun    bool     // the steps that wait for nothing were considered
	ahead    int      // containers made or being made for steps without a slot
	left     int      // selected steps not at an end
	stopping bool     // no step is started any more
	result   Result
	wares    *wares
	memos    *memoWriter
	backend  backend
	groups   []*container.Group // of steps that have ended, which the kernel is not done with
	open     func() (backend, error)
	checked  chan checkResult
	holdErr  error // a ware that was made could not be held
	calls    *calls
	away     *away

	asked   chan struct{} // a place for each question that is under way
	answers chan answer
	over    chan struct{} // closed when loop has ended
}

// RunPlan runs what p needs. The error is nil when every needed step ended well;
// ErrFailed when steps failed (Result.Failed says which); the context's error when
// cancelled; anything else is about the run as a whole, such as user namespaces
// being refused. Everything it started has ended when it returns.
func RunPlan(ctx context.Context, p *plan.Plan, o Options) (Result, error) {
	r := &run{Options: o, ctx: ctx, plan: p}
	r.open = r.openContainer
	return r.run()
}

func (r *run) run() (Result, error) {
	if r.Jobs <= 0 {
		r.Jobs = runtime.NumCPU()
	}
	selected, err := r.plan.Select(r.Targets)
	if err != nil {
		return Result{}, err
	}
	if r.Shared == nil {
		r.Shared = plan.Alone{}
	}
	r.slots = r.Jobs
	r.MaxPIDs = runPIDs(r.MaxPIDs, selected)
	r.wares = newWares(r.Warehouse, r.Shared, hostsOf(selected, r.Allow))
	r.memos = newMemoWriter(r.Warehouse, r.Memos, r.Made)
	r.asked, r.answers, r.over = make(chan struct{}, askJobs), make(chan answer), make(chan struct{})
	r.checked = make(chan checkResult, r.Jobs+1)
	r.calls = newCalls(r.ctx, r.Warehouse, r.Binaries)
	r.away = newAway(r.ctx, r.Options)
	r.result.Steps = map[string]map[string]warehouse.WareID{}
	r.begin(selected)
	err = r.loop()
	close(r.over)
	r.calls.close()
	r.away.close()
	if r.backend != nil {
		r.close()
	}
	r.unlimitAll()
	if memoErr := r.memos.close(); err == nil {
		err = cmp.Or(memoErr, r.holdErr)
	}
	if err == nil {
		err = r.ctx.Err()
	}
	if err == nil && len(r.result.Failed) > 0 {
		err = ErrFailed
	}
	r.result.Outputs = r.formulaOutputs()
	return r.result, err
}

// begin sets up the states of the selected steps and takes those that wait for
// nothing as far as they go.
func (r *run) begin(selected []*plan.Step) {
	r.states = make([]*state, len(r.plan.Steps))
	block := make([]state, len(selected))
	for i, s := range selected {
		st := &block[i]
		st.Step, st.unmet = s, len(s.Deps)
		st.notAhead = s.Action.Call != nil || r.Runners.Of(s) != ""
		r.states[s.Index] = st
	}
	r.left = len(selected)
	for _, s := range selected {
		if st := r.states[s.Index]; st.unmet == 0 {
			r.consider(st)
		}
	}
	r.begun = true
}

// consider takes a step whose needs are met: it is remembered, or has to run.
// What a remembered step meets is considered in turn, without recursion.
func (r *run) consider(first *state) {
	for queue := []*state{first}; len(queue) > 0; queue = queue[1:] {
		st := queue[0]
		if st.status != waiting || r.stopping {
			continue
		}
		resolved, err := r.plan.ResolveStep(st.Step, r.outputOf)
		if err != nil {
			r.fail(st, &StepError{Failure: FailedInput, Err: err})
			continue
		}
		st.resolved = resolved
		if outputs := r.Earlier[resolved.Key]; outputs != nil {
			r.finish(st, outputs)
			queue = append(queue, r.met(st)...)
			continue
		}
		memo := r.remembered(st)
		if memo == nil && !st.told && r.ask(st) {
			continue
		}
		if memo != nil {
			r.giveUpContainer(st)
			st.remembered = true
			r.result.Remembered++
			r.finish(st, memo.Outputs)
			r.emit(Event{Kind: StepRemembered, Step: st.Step, Duration: memo.Duration, Outputs: memo.Outputs, Origin: memo.Origin})
			queue = append(queue, r.met(st)...)
			continue
		}
		st.status = runnable
		at, _ := slices.BinarySearchFunc(r.runnable, st, func(a, b *state) int { return a.Index - b.Index })
		r.runnable = slices.Insert(r.runnable, at, st)
	}
}

// met counts a finished step down in those that wait for it and returns the ones
// that wait for nothing any more.
func (r *run) met(st *state) []*state {
	var free []*state
	for _, i := range st.Needed {
		if next := r.states[i]; next != nil {
			if next.unmet--; next.unmet == 0 && next.status == waiting {
				free = append(free, next)
			}
		}
	}
	return free
}

func (r *run) finish(st *state, outputs map[string]warehouse.WareID) {
	st.status, st.outputs = done, outputs
	r.result.Steps[st.Addr] = outputs
	r.left--
}

func (r *run) outputOf(s *plan.Step, name string) (warehouse.WareID, bool) {
	st := r.states[s.Index]
	if st == nil || st.status != done {
		return warehouse.WareID{}, false
	}
	id, ok := st.outputs[name]
	return id, ok
}

// remembered returns the memo that makes running the step needless, or nil.
func (r *run) remembered(st *state) *warehouse.Memo {
	if r.Force || st.anew || !plan.Hermetic(st.Step.Step) {
		return nil
	}
	memo := r.memoOf(st)
	// What is remembered when a run begins was held by who began it, as far as it is
	// needed; of what is not, it does not matter when it goes.
	if memo == nil || !r.begun || r.Warehouse.Hold(slices.Collect(maps.Values(memo.Outputs))...) == nil {
		return memo
	}
	return r.memoOf(st) // some are not here, or not any more
}

// memoOf returns the memo of a step that holds, or nil.
func (r *run) memoOf(st *state) *warehouse.Memo {
	o := plan.ExplainOptions{Warehouse: r.Warehouse, Memos: r.Memos, Shared: r.Shared}
	memo, _ := plan.Remembered(&st.resolved, o)
	if memo == nil && st.known != nil && plan.Holds(&st.resolved, st.known, o) {
		return st.known // it may not be with the local ones yet
	}
	return memo
}

// fail ends a step, and with it what needs it, and unless KeepGoing the run.
func (r *run) fail(st *state, e *StepError) {
	e.Step, e.Tail = st.Step, st.log.Lines()
	r.unlimit(st)
	if e.Failure != FailedExit && e.Failure != FailedSignal && e.Failure != FailedTimeout {
		e.Entry = -1
	}
	r.giveUpContainer(st)
	st.status = failedOrSkipped
	r.left--
	r.result.Failed = append(r.result.Failed, e)
	var duration time.Duration
	if st.exited != nil {
		duration = st.exited.Duration
	}
	r.emit(Event{Kind: StepFailed, Step: st.Step, Duration: duration, Err: e})
	r.skipNeeding(st)
	if !r.KeepGoing {
		r.stop()
	}
}

// skipNeeding skips every step that needs st, directly or not.
func (r *run) skipNeeding(st *state) {
	for queue := slices.Clone(st.Needed); len(queue) > 0; queue = queue[1:] {
		if next := r.states[queue[0]]; next != nil && next.status == waiting {
			r.skip(next)
			queue = append(queue, next.Needed...)
		}
	}
}

func (r *run) skip(st *state) {
	r.giveUpContainer(st)
	st.status = failedOrSkipped
	r.left--
	r.result.Skipped++
	r.emit(Event{Kind: StepSkipped, Step: st.Step})
}

// stop lets nothing more start and asks what runs to end.
func (r *run) stop() {
	if r.stopping {
		return
	}
	r.stopping = true
	r.runnable = nil
	for _, st := range r.states {
		if st == nil {
			continue
		}
		switch st.status {
		case waiting, asking, runnable:
			r.skip(st)
		case starting, running:
			if st.cancel != nil {
				st.cancel()
				continue
			}
			r.backend.End(jobID(st), endGrace)
		}
	}
}

func (r *run) emit(e Event) {
	if r.Observe != nil {
		e.Time = time.Now()
		r.Observe(e)
	}
}

func (r *run) formulaOutputs() map[string]warehouse.WareID {
	outputs := map[string]warehouse.WareID{}
	for _, o := range r.plan.Formula.Outputs {
		if o.From.Step == "" {
			outputs[o.Name] = r.plan.Wares[o.From.Ware]
			continue
		}
		if id, ok := r.result.Steps[o.From.Step][o.From.Output]; ok {
			outputs[o.Name] = id
		}
	}
	return outputs
}

func jobID(st *state) int64 { return int64(st.Index) + 1 }

// close shuts the backend down, reading what it still has to say.
func (r *run) close() {
	go func() {
		for range r.backend.Events() {
		}
	}()
	r.backend.Close()
}
