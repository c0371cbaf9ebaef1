// Package supervise is what runners of this machine have in common: each run is carried
// out by a process of its own, in a session of its own, that outlives the one that
// submitted it and is found through the registry. What it does is the environment's
// business.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	osexec "os/exec"
	"path/filepath"
	"syscall"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/registry"
)

// An Environment carries out runs in the supervising process.
type Environment interface {
	// Check says why nothing can be run here, or nil.
	Check(ctx context.Context) error

	// Accept says why a specification that is right in itself cannot be carried out here,
	// or fills in what the record says of how it will be: Isolation, Offline, Unenforced.
	Accept(ctx context.Context, r *exec.Run) error

	// Carry carries a run out. When ctx ends, it ends the run's processes; the cause of
	// ctx says why it did.
	Carry(ctx context.Context, j *Job) exec.End

	// Sweep ends what may be left of a run whose supervisor was killed.
	Sweep(r exec.Run)
}

// A Runner submits runs to an environment.
type Runner struct {
	name     string
	registry *registry.Registry
	env      Environment
	self     []string
}

var _ exec.Runner = (*Runner)(nil)

// New returns the runner of that name. self is how this executable is started to become
// a supervisor, its own name first: with the directory of a run as one more argument it
// calls Main.
func New(name string, g *registry.Registry, env Environment, self []string) *Runner {
	g.OnLost(name, env.Sweep)
	return &Runner{name, g, env, self}
}

// Check implements exec.Runner.
func (r *Runner) Check(ctx context.Context) error { return r.env.Check(ctx) }

// Submit implements exec.Runner.
func (r *Runner) Submit(ctx context.Context, spec exec.JobSpec) (exec.Run, error) {
	if err := spec.Check(); err != nil {
		return exec.Run{}, err
	}
	if err := ctx.Err(); err != nil {
		return exec.Run{}, err
	}
	run := exec.Run{Runner: r.name, Spec: spec}
	if err := r.env.Accept(ctx, &run); err != nil {
		return exec.Run{}, fmt.Errorf("submit %s: %w", spec.Title(), err)
	}
	run, hold, err := r.registry.Create(run)
	if err != nil {
		return exec.Run{}, err
	}
	defer hold.Close()
	if err := r.start(run, hold); err != nil {
		r.registry.Update(run.ID, exec.NotRun(exec.ReasonSetup, err.Error()).Settle)
		return exec.Run{}, fmt.Errorf("submit %s: start its supervisor: %w", spec.Title(), err)
	}
	return run, nil
}

// start starts the supervisor of a run, which inherits the hold.
func (r *Runner) start(run exec.Run, hold *registry.Hold) error {
	log, err := os.OpenFile(filepath.Join(run.Dir, registry.SuperviseFile), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	// By its file, not its path: that may hold another kiln by now.
	cmd := &osexec.Cmd{Path: "/proc/self/exe", Args: append(r.self[:len(r.self):len(r.self)], run.Dir), Dir: "/"}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{hold.File()}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go cmd.Wait() // so that no zombie stays while this process lives
	return nil
}

// own returns a run of this runner.
func (r *Runner) own(run exec.Run, err error) (exec.Run, error) {
	if err == nil && run.Runner != r.name {
		return exec.Run{}, fmt.Errorf("run %s: %w of the runner %s: it is of %s", run.ID, exec.ErrNoRun, r.name, run.Runner)
	}
	return run, err
}

// GetRun implements exec.Runner.
func (r *Runner) GetRun(_ context.Context, id string) (exec.Run, error) {
	return r.own(r.registry.Get(id))
}

// Wait implements exec.Runner.
func (r *Runner) Wait(ctx context.Context, id string) (exec.Run, error) {
	if run, err := r.GetRun(ctx, id); err != nil {
		return run, err
	}
	return r.own(r.registry.Wait(ctx, id))
}

// Cancel implements exec.Runner.
func (r *Runner) Cancel(ctx context.Context, id string) (exec.Run, error) {
	run, err := r.GetRun(ctx, id)
	if err != nil || run.Status.Ended() {
		return run, err
	}
	if err := r.registry.RequestCancel(id); err != nil {
		return run, err
	}
	return r.Wait(ctx, id)
}

// ListRuns implements exec.Runner.
func (r *Runner) ListRuns(_ context.Context, f exec.RunFilter) ([]exec.Run, error) {
	return r.registry.List(r.name, f)
}

// Logs implements exec.Runner.
func (r *Runner) Logs(ctx context.Context, id string, follow bool, stdout, stderr io.Writer) error {
	if _, err := r.GetRun(ctx, id); err != nil {
		return err
	}
	return r.registry.Logs(ctx, id, follow, stdout, stderr)
}

// Why a run's context ended.
var (
	ErrCancelled = errors.New("the run was cancelled")
	ErrTimeout   = errors.New("the run's time was up")
)

// EndedBy completes the end of a command that was ended because ctx did.
func EndedBy(ctx context.Context, e exec.End) exec.End {
	switch cause := context.Cause(ctx); {
	case cause == nil:
	case errors.Is(cause, ErrTimeout):
		e.Reason, e.Message = exec.ReasonTimeout, "its time was up"
	default:
		e.Cancelled, e.Message = true, ""
	}
	return e
}
