package exec

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/exec/container/bundle"
	"github.com/kilnbuild/kiln/exec/container/wire"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
)

// loop runs steps until none is left.
func (r *run) loop() error {
	cancelled := r.ctx.Done()
	var overdue <-chan time.Time
	for {
		if err := r.advance(); err != nil {
			return err
		}
		if r.left == 0 {
			return nil
		}
		var events <-chan wire.Frame
		if r.backend != nil {
			events = r.backend.Events()
		}
		select {
		case frame, ok := <-events:
			if !ok {
				return r.backend.Gone()
			}
			if err := r.handle(frame); err != nil {
				return err
			}
		case c := <-r.checked:
			if err := r.inputsChecked(c); err != nil {
				return err
			}
		case a := <-r.answers:
			r.answered(a)
		case e := <-r.calls.events:
			if err := r.callEvent(e); err != nil {
				return err
			}
		case e := <-r.away.events:
			r.awayEvent(e)
		case <-cancelled:
			cancelled, overdue = nil, time.After(cancelGrace)
			r.stop()
		case <-overdue:
			return r.ctx.Err()
		}
	}
}

// advance gives free slots to runnable steps and makes containers ahead of time.
func (r *run) advance() error {
	for r.slots > 0 && len(r.runnable) > 0 && !r.stopping {
		st := r.runnable[0]
		r.runnable = r.runnable[1:]
		r.slots--
		if st.container != noContainer {
			r.ahead--
		}
		st.status = checking
		r.busy = append(r.busy, st)
		go func() { r.checked <- r.wares.check(r.ctx, st) }()
	}
	return r.prepareAhead()
}

// prepareAhead makes containers for steps that will run soon, so that they start
// at once: those waiting for a slot, and those waiting only for steps that run or
// are themselves prepared.
func (r *run) prepareAhead() error {
	limit := r.Jobs + 2
	if r.backend == nil || r.stopping || r.ahead >= limit {
		return nil
	}
	for _, st := range r.runnable {
		if r.ahead >= limit {
			return nil
		}
		if st.container == noContainer && !st.notAhead {
			if err := r.prepare(st); err != nil {
				return err
			}
		}
	}
	// Follow what runs for as many generations as there are containers to spare.
	r.busy = slices.DeleteFunc(r.busy, func(st *state) bool { return st.status > running })
	front := slices.Clone(r.busy)
	met := map[*state]bool{}
	for ; len(front) > 0 && r.ahead < limit; front = front[1:] {
		for _, i := range front[0].Needed {
			n := r.states[i]
			if n == nil || n.status != waiting || met[n] || !r.soon(n) || r.ahead >= limit {
				continue
			}
			if n.container == noContainer && !n.notAhead {
				if err := r.prepare(n); err != nil {
					return err
				}
			}
			met[n] = true
			front = append(front, n)
		}
	}
	return nil
}

// soon reports whether all that a waiting step needs is done, runs or is prepared,
// and its root ware is known.
func (r *run) soon(st *state) bool {
	for _, i := range st.Deps {
		dep := r.states[i]
		if dep.status < checking && dep.container == noContainer {
			return false
		}
	}
	for _, in := range st.Inputs {
		if in.Port == "/" && in.From.Step != "" && r.states[r.plan.ByAddr[in.From.Step].Index].status != done {
			return false
		}
	}
	return true
}

// prepare has a container made for a step, with the inputs that are known and
// already looked at.
func (r *run) prepare(st *state) error {
	if r.limit(st) != nil {
		st.notAhead = true // it is told when its turn comes
		return nil
	}
	job := wire.Job{ID: jobID(st), Name: st.Addr, Scripts: st.Action.Script, GoOn: st.Action.Continue, Network: st.Network}
	job.UID, job.GID = ids(st.User)
	st.late = nil
	for _, in := range st.Inputs {
		m, ok := r.knownInput(in)
		switch {
		case !ok && in.Port == "/":
			return nil // not yet
		case !ok:
			st.late = append(st.late, in.Port)
		case in.Port == "/":
			job.Root = &m
		default:
			job.Mounts = append(job.Mounts, m)
		}
	}
	if st.Network {
		job.Mounts = r.wares.addNetwork(job.Mounts, st.Step, job.Root)
	}
	slices.SortFunc(job.Mounts, byPort)
	job.Late = st.late
	st.container = beingMade
	if st.status < checking {
		r.ahead++
	}
	return r.prepareIn(st, job)
}

// knownInput returns the mount of an input whose ware is known and was looked at.
func (r *run) knownInput(in formula.Input) (wire.Mount, bool) {
	if in.Host != "" {
		m, err := r.wares.hosts.mount(in.Port, in.Host, in.Mode)
		return m, err == nil
	}
	id := r.plan.Wares[in.From.Ware]
	if in.From.Step != "" {
		var ok bool
		if id, ok = r.outputOf(r.plan.ByAddr[in.From.Step], in.From.Output); !ok {
			return wire.Mount{}, false
		}
	}
	filters, _ := pack.ParseUnpackFilters(in.Filters) // checked by package plan
	rec, ok := r.wares.known(seenWare{id, filters.String()})
	return r.wares.mount(in.Port, in.Mode, rec), ok
}

// inputsChecked goes on with a step whose inputs were looked at. An error is about
// the run as a whole.
func (r *run) inputsChecked(c checkResult) error {
	st := c.st
	if r.ctx.Err() != nil {
		r.stop() // which may be why the check failed
	}
	switch {
	case r.stopping:
		r.slots++
		r.skip(st)
		return nil
	case c.err != nil:
		r.slots++
		if makers := r.missingFrom(c); makers != nil {
			r.makeAgain(st, makers)
			return nil
		}
		r.fail(st, &StepError{Failure: FailedInput, Port: c.port, Err: c.err})
		return nil
	}
	err := refused(st.Step, r.Allow)
	if err == nil && len(command(st.Step)) == 0 && !st.Action.Echo {
		err = errors.New("its command is empty")
	}
	if err != nil {
		r.slots++
		r.fail(st, &StepError{Failure: FailedSetup, Err: err})
		return nil
	}
	if st.Action.Call != nil {
		r.startCall(st)
		return nil
	}
	if name := r.Runners.Of(st.Step); name != "" {
		r.startAway(st, name, c.root())
		return nil
	}
	if err := r.limit(st); err != nil {
		r.slots++
		r.fail(st, &StepError{Failure: FailedSetup, Err: err})
		return nil
	}
	if err := r.openBackend(); err != nil {
		return err
	}
	if err := r.backend.MayRunAs(ids(st.User)); err != nil {
		r.slots++
		r.fail(st, &StepError{Failure: FailedSetup, Err: err})
		return nil
	}
	st.inputs, st.status = c.mounts, starting
	switch st.container {
	case ready:
		return r.start(st)
	case noContainer:
		return r.prepare(st)
	}
	return nil
}

// start runs a step in its container.
func (r *run) start(st *state) error {
	if st.Action.Echo {
		defer r.echo(st)
	}
	s := wire.Start{ID: jobID(st), Args: command(st.Step), Env: environment(st.Step), Cwd: st.Cwd, Timeout: st.Timeout}
	for _, m := range st.inputs {
		if slices.Contains(st.late, m.Port) {
			s.Mounts = append(s.Mounts, m)
		}
	}
	for _, o := range st.Outputs {
		s.Outputs = append(s.Outputs, wire.Output{Name: o.Name, Path: o.Path, Packtype: o.Packtype, Filters: o.Filters})
	}
	st.status, st.began = running, time.Now()
	r.emit(Event{Kind: StepStarted, Step: st.Step})
	return r.backend.Start(s)
}

// handle takes in one message of the backend.
func (r *run) handle(frame wire.Frame) error {
	if frame.Kind == wire.KindLog {
		id, data := frame.Log()
		st := r.states[id-1]
		st.log.Write(data, func(line []byte) { r.emit(Event{Kind: StepLog, Step: st.Step, Line: line}) })
		return nil
	}
	var head struct{ ID int64 }
	if err := frame.Decode(&head); err != nil {
		return err
	}
	st := r.states[head.ID-1]
	switch frame.Kind {
	case wire.KindPrepared:
		if st.container == beingMade {
			st.container = ready
		}
		if st.status == starting && !r.stopping { // when stopping, its end was asked for
			return r.start(st)
		}
	case wire.KindExited:
		st.exited = new(wire.Exited)
		if err := frame.Decode(st.exited); err != nil {
			return err
		}
		st.oom = st.group != nil && st.group.OutOfMemory()
		st.log.Flush(func(line []byte) { r.emit(Event{Kind: StepLog, Step: st.Step, Line: line}) })
		if st.exited.Code == 0 {
			r.emit(Event{Kind: StepPacking, Step: st.Step})
			return nil
		}
		r.exitedBadly(st)
	case wire.KindPacked:
		var packed wire.Packed
		if err := frame.Decode(&packed); err != nil {
			return err
		}
		r.packed(st, packed)
	case wire.KindFailed:
		var f wire.Failed
		if err := frame.Decode(&f); err != nil {
			return err
		}
		r.jobFailed(st, f)
	}
	return nil
}

// made is what will be remembered of a step that ended well.
func (r *run) made(st *state, records map[string]warehouse.Record, took time.Duration) Made {
	m := Made{Step: st.Step, Memo: warehouse.Memo{
		Key: st.resolved.Key, Step: st.Addr, Outputs: st.outputs, Started: st.began.UTC(), Duration: took,
		Isolation: OwnContainers, Kiln: r.Version,
	}}
	if st.away != nil {
		m.Memo.Isolation = st.away.Isolation
		if st.away.Offline != OfflineEnforced {
			m.Memo.Offline = string(st.away.Offline)
		}
	}
	for name, rec := range records {
		if rec.ID != rec.Tree && !rec.Tree.IsZero() {
			if m.Memo.Trees == nil {
				m.Memo.Trees = map[string]warehouse.WareID{}
			}
			m.Memo.Trees[name] = rec.Tree
		}
	}
	if r.FormulaID != nil {
		m.Memo.FormulaID = r.FormulaID(st.resolved)
	}
	return m
}

// echo tells a step's inputs, which is all that an echo action does.
func (r *run) echo(st *state) {
	var b bytes.Buffer
	for _, in := range st.resolved.Inputs {
		fmt.Fprintf(&b, "%s ← %s\n", in.Port, in.Content())
	}
	for _, v := range st.Env {
		fmt.Fprintf(&b, "$%s = %s\n", v.Name, v.Value)
	}
	st.log.Write(b.Bytes(), func(line []byte) { r.emit(Event{Kind: StepLog, Step: st.Step, Line: line}) })
}

func (r *run) exitedBadly(st *state) {
	e := st.exited
	st.container = noContainer
	r.slots++
	if e.Ended {
		st.status = waiting
		r.skip(st)
		return
	}
	err := &StepError{Failure: FailedExit, ExitCode: e.Code, Entry: e.Entry}
	if e.Signal != 0 {
		err.Failure, err.Signal = FailedSignal, e.Signal
	}
	if e.TimedOut {
		err.Failure = FailedTimeout
	}
	if st.oom {
		err = r.memoryError(st)
	}
	r.fail(st, err)
}

func (r *run) packed(st *state, p wire.Packed) {
	st.container = noContainer
	if st.oom { // what it made of that depends on how much memory there was
		r.slots++
		r.fail(st, r.memoryError(st))
		return
	}
	r.unlimit(st)
	r.ended(st, p.Outputs, st.exited.Duration)
}

// ended takes in that a step has ended well.
func (r *run) ended(st *state, records map[string]warehouse.Record, took time.Duration) {
	outputs := make(map[string]warehouse.WareID, len(records))
	for name, rec := range records {
		outputs[name] = rec.ID
		r.wares.add(rec)
		if err := r.Warehouse.HoldMade(rec.ID); err != nil {
			r.holdErr = errors.Join(r.holdErr, err)
		}
	}
	r.slots++
	r.finish(st, outputs)
	r.result.Ran++
	if plan.Hermetic(st.Step.Step) && (st.away == nil || st.away.Offline != OfflineNone) {
		r.memos.put(r.made(st, records, took))
	}
	r.emit(Event{Kind: StepDone, Step: st.Step, Duration: took, Outputs: outputs})
	if !r.stopping {
		for _, next := range r.met(st) {
			r.consider(next)
		}
	}
}

// jobFailed takes in that a job ended without its command having failed.
func (r *run) jobFailed(st *state, f wire.Failed) {
	hadSlot := st.status == starting || st.status == running
	if !hadSlot {
		// A container made ahead failed: its step is told when its turn comes.
		if st.container != noContainer {
			if st.status < checking {
				r.ahead--
			}
			st.container, st.notAhead = noContainer, true
		}
		return
	}
	st.container = noContainer
	r.slots++
	if r.stopping && f.Stage != wire.StageOutput {
		r.skip(st)
		return
	}
	failure := map[string]Failure{wire.StageOutput: FailedOutput, wire.StageInput: FailedInput}[f.Stage]
	if failure == 0 {
		failure = FailedSetup
	}
	text := f.Err
	switch {
	case f.Output != "":
		text = "output " + f.Output + ": " + text
	case f.Port != "":
		text = "input " + f.Port + ": " + text
	}
	r.fail(st, &StepError{Failure: failure, Output: f.Output, Port: f.Port, Err: errors.New(text)})
}

// giveUpContainer drops a container made ahead for a step that will not run.
func (r *run) giveUpContainer(st *state) {
	if st.container == noContainer || st.status > checking {
		return
	}
	r.backend.End(jobID(st), 0)
	st.container = noContainer
	if st.status < checking {
		r.ahead--
	}
}

func byPort(a, b wire.Mount) int { return strings.Compare(a.Port, b.Port) }

func ids(user string) (uid, gid int) {
	u, g, _ := strings.Cut(user, ":")
	uid, _ = strconv.Atoi(u)
	gid, _ = strconv.Atoi(g)
	return uid, gid
}

// environment returns the step's whole environment.
func environment(s *plan.Step) []string {
	own := make([]bundle.Variable, len(s.Env))
	for i, v := range s.Env {
		own[i] = bundle.Variable(v)
	}
	return bundle.Environment(own)
}

func command(s *plan.Step) []string {
	if len(s.Action.Script) > 0 {
		return append(slices.Clone(s.Action.Interpreter), bundle.ScriptMain)
	}
	return s.Action.Exec
}
