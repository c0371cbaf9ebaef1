package exec

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/container/bundle"
	"github.com/kilnbuild/kiln/exec/container/wire"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
)

// JobOptions say around what a job runs.
type JobOptions struct {
	Options                        // of which Warehouse, Binaries and MaxPIDs count
	Stdout  *os.File               // the command's; RunJob closes it here
	Stderr  io.Writer              // takes what the command writes to its stderr
	Started func() error           // called once the command runs; an error ends it; may be nil
	Exited  func(code, signal int) // called when the command has ended, before outputs are packed; may be nil
	Grace   time.Duration          // from SIGTERM to SIGKILL when ctx ends
}

// RunJob runs a specification in a container of kiln's own, as a step runs, and says how
// it ended. All its wares must be in the warehouse. When ctx ends, the command is ended;
// what that means is for the caller to say.
func RunJob(ctx context.Context, s JobSpec, o JobOptions) End {
	defer o.Stdout.Close()
	j, err := openJob(ctx, s, &o)
	if err != nil {
		var missing *inputError
		if errors.As(err, &missing) {
			return NotRun(ReasonInput, err.Error())
		}
		return NotRun(ReasonSetup, err.Error())
	}
	defer j.close()
	defer context.AfterFunc(ctx, func() { j.End(jobOnly, o.Grace) })()
	return j.wait()
}

// jobOnly is the id of the only job of an executor.
const jobOnly = 1

// A soloJob is the only job of an executor.
type soloJob struct {
	*container.Executor
	spec    JobSpec
	options *JobOptions
	group   *container.Group
	began   time.Time
}

// An inputError says that an input is not there as it must be.
type inputError struct{ error }

func (e *inputError) Unwrap() error { return e.error }

// openJob enters the namespaces of a job and has its container made.
func openJob(ctx context.Context, s JobSpec, o *JobOptions) (_ *soloJob, err error) {
	h := hostsOfJob(s)
	w := newWares(o.Warehouse, o.Shared, h)
	checked := w.check(ctx, &state{resolved: plan.Resolved{Inputs: resolvedInputs(s)}})
	if checked.err != nil {
		return nil, &inputError{checked.err}
	}
	group, left := container.NewGroup(LimitsOf(s.Resources))
	j := &soloJob{spec: s, options: o, group: group}
	defer func() {
		if err != nil {
			j.close()
		}
	}()
	if len(left) > 0 {
		if _, err := Enforceable(s.Resources); err != nil {
			return nil, err
		}
	}
	if o.MaxPIDs == 0 {
		o.MaxPIDs = max(defaultMaxPIDs(), uint64(s.Resources.Limits.PIDs))
	}
	if j.Executor, err = startExecutor(&o.Options, h); err != nil {
		return nil, err
	}
	job := wire.Job{ID: jobOnly, Name: s.Title(), Scripts: s.Script, GoOn: s.Continue, Network: s.Network}
	if job.UID, job.GID, err = s.IDs(); err != nil {
		return nil, err
	}
	if err := j.MayRunAs(job.UID, job.GID); err != nil {
		return nil, err
	}
	for _, m := range checked.mounts {
		if m.Port == "/" {
			job.Root = &m
		} else {
			job.Mounts = append(job.Mounts, m)
		}
	}
	if s.Network {
		job.Mounts = w.addNetwork(job.Mounts, &plan.Step{Step: &formula.Step{Inputs: portsOf(s)}}, job.Root)
	}
	slices.SortFunc(job.Mounts, byPort)
	return j, j.prepare(job)
}

// prepare has the container made, with its files.
func (j *soloJob) prepare(job wire.Job) error {
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer stdin.Close()
	procs, err := j.group.Procs()
	if err != nil {
		return fmt.Errorf("limit the container: %w", err)
	}
	defer func() {
		for _, f := range procs {
			f.Close()
		}
	}()
	err = j.PrepareWith(job, append([]*os.File{stdin, j.options.Stdout}, procs...))
	j.options.Stdout.Close() // that its reader sees when the command's is closed
	return err
}

func hostsOfJob(s JobSpec) *hosts {
	var steps formula.Step
	for _, m := range s.Mounts {
		steps.Inputs = append(steps.Inputs, formula.Input{Host: m.Host})
	}
	steps.Network = s.Network
	return hostsOf([]*plan.Step{{Step: &steps}}, Allowed{Network: true, Mount: true})
}

// resolvedInputs are a specification's root, inputs and mounts, sorted by port.
func resolvedInputs(s JobSpec) []plan.ResolvedInput {
	var inputs []plan.ResolvedInput
	if !s.Root.IsZero() {
		inputs = append(inputs, plan.ResolvedInput{Port: "/", Ware: s.Root, Mode: formula.Overlay})
	}
	for _, in := range s.Inputs {
		inputs = append(inputs, plan.ResolvedInput{Port: in.Port, Ware: in.Ware, Mode: in.Mode, Filters: in.Filters})
	}
	for _, m := range s.Mounts {
		mode := formula.ReadOnly
		if m.Writable {
			mode = formula.ReadWrite
		}
		inputs = append(inputs, plan.ResolvedInput{Port: m.Port, Host: m.Host, Mode: mode})
	}
	slices.SortFunc(inputs, func(a, b plan.ResolvedInput) int { return cmp.Compare(a.Port, b.Port) })
	return inputs
}

// portsOf are the ports of a specification as a formula's inputs.
func portsOf(s JobSpec) []formula.Input {
	var inputs []formula.Input
	for _, in := range resolvedInputs(s) {
		inputs = append(inputs, formula.Input{Port: in.Port})
	}
	return inputs
}

// start is the message that has the command run.
func (j *soloJob) start() wire.Start {
	s := wire.Start{ID: jobOnly, Args: j.spec.Command, Env: j.spec.Env, Cwd: cmp.Or(j.spec.Dir, "/")}
	if len(j.spec.Script) > 0 {
		s.Args = append(slices.Clone(s.Args), bundle.ScriptMain)
	}
	for _, o := range j.spec.Outputs {
		s.Outputs = append(s.Outputs, wire.Output{Name: o.Name, Path: o.Path, Packtype: o.Packtype, Filters: o.Filters})
	}
	return s
}

// wait starts the job once its container is there and sees it to its end.
func (j *soloJob) wait() End {
	var end End
	for frame := range j.Events() {
		switch frame.Kind {
		case wire.KindLog:
			_, data := frame.Log()
			j.options.Stderr.Write(data) // what became of it changes nothing
		case wire.KindPrepared:
			if err := j.begin(); err != nil {
				return NotRun(ReasonSetup, err.Error())
			}
		case wire.KindExited:
			var e wire.Exited
			if err := frame.Decode(&e); err != nil {
				return NotRun(ReasonSetup, err.Error())
			}
			if end = j.exited(e); e.Code != 0 {
				return end
			}
		case wire.KindPacked:
			var p wire.Packed
			if err := frame.Decode(&p); err != nil {
				return NotRun(ReasonSetup, err.Error())
			}
			end.Outputs = map[string]warehouse.WareID{}
			for name, rec := range p.Outputs {
				end.Outputs[name] = rec.ID
			}
			return end
		case wire.KindFailed:
			var f wire.Failed
			if err := frame.Decode(&f); err != nil {
				return NotRun(ReasonSetup, err.Error())
			}
			return j.failed(end, f)
		}
	}
	return NotRun(ReasonSetup, j.Gone().Error())
}

func (j *soloJob) begin() error {
	j.began = time.Now()
	if err := j.Start(j.start()); err != nil {
		return err
	}
	if j.options.Started != nil {
		return j.options.Started()
	}
	return nil
}

// exited says how the command ended.
func (j *soloJob) exited(e wire.Exited) End {
	if j.options.Exited != nil {
		j.options.Exited(e.Code, e.Signal)
	}
	end := Exited(e.Code, e.Signal)
	end.Entry, end.Started, end.Took = e.Entry, j.began, e.Duration
	if j.group.OutOfMemory() {
		end.Reason, end.Message = ReasonOutOfMemory, OutOfMemory(j.spec.Resources)
	}
	return end
}

// failed says how a job ended that failed otherwise than by its command.
func (j *soloJob) failed(end End, f wire.Failed) End {
	reason, text := ReasonSetup, f.Err
	switch f.Stage {
	case wire.StageOutput:
		reason, text = ReasonOutput, "output "+f.Output+": "+text
	case wire.StageInput:
		reason, text = ReasonInput, "input "+f.Port+": "+text
	}
	if f.Stage != wire.StageOutput {
		return NotRun(reason, text)
	}
	if end.Reason == "" {
		end.Reason, end.Message = reason, text
	}
	return end
}

// close takes everything down.
func (j *soloJob) close() {
	if j.Executor != nil {
		go func() {
			for range j.Events() {
			}
		}()
		j.Executor.Close()
	}
	for range 100 { // the kernel may need a moment
		if j.group.Remove() {
			return
		}
		time.Sleep(time.Millisecond)
	}
}
