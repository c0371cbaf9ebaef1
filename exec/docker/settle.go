package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/delegate"
	"github.com/kilnbuild/kiln/exec/registry"
)

// GetRun returns a run as it is. One whose container has ended is taken in: its result,
// its outputs, its logs; then the container goes.
func (r *Runner) GetRun(ctx context.Context, id string) (exec.Run, error) {
	run, err := r.Runs.Get(id)
	if err != nil || run.Status.Ended() || r.beginning(id) {
		return run, err
	}
	e, err := r.connect(ctx)
	if err != nil {
		return run, err
	}
	state, err := e.state(ctx, containerName(id))
	switch {
	case err != nil:
		return run, err
	case state == nil:
		return r.settle(ctx, e, id)
	case state.Status == container.StateCreated:
		return run, nil
	case !over(state):
		if end := deadline(run); !end.IsZero() && time.Now().After(end) {
			return r.expire(ctx, e, run)
		}
		return r.Runs.Update(id, func(run *exec.Run) {
			run.Status, run.Started = exec.RunRunning, began(state)
		})
	}
	return r.settle(ctx, e, id)
}

// beginning reports whether the process that submits a run is still at it.
func (r *Runner) beginning(id string) bool {
	_, err := os.Stat(filepath.Join(r.Runs.Dir(id), "owner"))
	return err == nil
}

// over reports whether a container has ended.
func over(s *container.State) bool {
	return s.Status == container.StateExited || s.Status == container.StateDead
}

func began(s *container.State) time.Time {
	t, _ := time.Parse(time.RFC3339Nano, s.StartedAt)
	return t.UTC()
}

// lateness is how far over its time a run may be before it is ended from here: it is the
// helper who does that, and after it packs what there is.
const lateness = 10 * time.Minute

// deadline is when a run is ended from here; zero: never.
func deadline(run exec.Run) time.Time {
	if run.Spec.Timeout == 0 {
		return time.Time{}
	}
	return run.Created.Add(run.Spec.Timeout + lateness)
}

// expire ends a run whose helper should have done that long ago.
func (r *Runner) expire(ctx context.Context, e *engine, run exec.Run) (exec.Run, error) {
	_, err := e.ContainerKill(ctx, containerName(run.ID), client.ContainerKillOptions{Signal: "KILL"})
	if err != nil && !gone(err) && !errdefs.IsConflict(err) {
		return run, fmt.Errorf("end run %s, whose time is up: %w", run.ID, err)
	}
	return run, nil
}

// settle takes in a run that is over, alone among all processes. It can be killed at any
// point: the next one begins again.
func (r *Runner) settle(ctx context.Context, e *engine, id string) (exec.Run, error) {
	unlock, err := lock(filepath.Join(r.Runs.Dir(id), "settle"))
	if err != nil {
		return exec.Run{}, fmt.Errorf("take in run %s: %w", id, err)
	}
	defer unlock()
	run, err := r.Runs.Get(id)
	if err != nil || run.Status.Ended() {
		return run, err
	}
	state, err := e.state(ctx, containerName(id))
	if err != nil {
		return run, err
	}
	result := delegate.Result{Run: id, Status: exec.RunFailed, Reason: exec.ReasonLost, Offline: run.Offline, Ended: now(),
		Message: "the engine knows nothing of its container any more"}
	if state == nil && r.Runs.CancelRequested(id) {
		result.Status, result.Reason, result.Message = exec.RunCancelled, "", "it was asked to end before it began"
	}
	if state != nil {
		if err := r.takeLogs(ctx, e, id); err != nil {
			return run, err
		}
		if result, err = r.takeResult(ctx, e, run, state); err != nil {
			return run, err
		}
		lost, err := r.Runs.NoteLost(id, 0, result.Logged)
		if err != nil {
			return run, err
		}
		if result.Unlogged += lost; lost > 0 && result.Message == "" {
			result.Message = fmt.Sprintf("%d bytes of its log were lost by the engine", lost)
		}
	}
	run, err = r.Runs.Update(id, func(run *exec.Run) {
		result.Apply(run)
		if result.Placed != "" {
			run.Isolation = Name + ", inputs " + result.Placed
		}
	})
	if err != nil {
		return run, err
	}
	r.removeWork(id)
	return run, e.remove(ctx, containerName(id))
}

// takeResult says how a run fared that is over, and takes its outputs in.
func (r *Runner) takeResult(ctx context.Context, e *engine, run exec.Run, state *container.State) (delegate.Result, error) {
	cancelled := r.Runs.CancelRequested(run.ID)
	state, err := e.settled(ctx, containerName(run.ID), state, func() bool { return cancelled })
	if err != nil {
		return delegate.Result{}, err
	}
	text, err := r.resultText(ctx, e, run.ID)
	if err != nil {
		return delegate.Result{}, err
	}
	result, err := delegate.Decode(text, run.ID)
	if err != nil {
		result = r.withoutResult(run, state, cancelled)
	}
	result.Offline = run.Offline
	switch {
	case state.OOMKilled && !cancelled && result.Reason != exec.ReasonTimeout:
		result.Status, result.Reason = exec.RunFailed, exec.ReasonOutOfMemory
		result.Message = exec.OutOfMemory(run.Spec.Resources)
	case result.Status == exec.RunCancelled && !cancelled:
		result.Status, result.Reason = exec.RunFailed, exec.ReasonLost
		result.Message = "it was ended by somebody else than kiln: docker stop, or the engine was stopped or restarted"
	}
	if result.Status != exec.RunSucceeded {
		result.Outputs = nil
		return result, nil
	}
	if err := r.takeOutputs(ctx, e, run, result); err != nil {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || down(err) {
			return result, err
		}
		result.Status, result.Reason, result.Message, result.Outputs = exec.RunFailed, exec.ReasonOutput, err.Error(), nil
	}
	return result, nil
}

// withoutResult says what can be said of a run whose helper left no result.
func (r *Runner) withoutResult(run exec.Run, state *container.State, cancelled bool) delegate.Result {
	result := delegate.Result{Status: exec.RunFailed, Reason: exec.ReasonLost, Started: began(state), Ended: now()}
	if t, err := time.Parse(time.RFC3339Nano, state.FinishedAt); err == nil && t.Year() > 1 {
		result.Ended = t.UTC()
	}
	said := r.lastWords(run.ID)
	switch {
	case cancelled:
		result.Status, result.Reason, result.Message = exec.RunCancelled, "", "it was asked to end, and was killed"
	case !deadline(run).IsZero() && result.Ended.After(deadline(run)):
		result.Reason, result.Message = exec.ReasonTimeout, fmt.Sprintf("its time, %s, was up, and it was killed", run.Spec.Timeout)
	case state.Error != "":
		result.Reason, result.Message = exec.ReasonSetup, "the engine could not start it: "+state.Error
	default:
		result.Message = fmt.Sprintf("the helper ended with exit code %d and left no result%s", state.ExitCode, said)
	}
	return result
}

// lastWords is the end of a run's stderr, where the helper says what it could not do.
func (r *Runner) lastWords(id string) string {
	f, err := os.Open(filepath.Join(r.Runs.Dir(id), registry.StderrFile))
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		f.Seek(max(0, info.Size()-1000), io.SeekStart)
	}
	text, _ := io.ReadAll(f)
	if words := strings.TrimSpace(strings.ToValidUTF8(string(text), "")); words != "" {
		return ": " + words
	}
	return ""
}

// sweep removes containers of this registry whose runs are over or gone: those of a
// process that died between two steps of submitting or taking in.
func (r *Runner) sweep(ctx context.Context, e *engine) {
	ids, err := r.containers(ctx, e)
	if err != nil {
		return
	}
	for _, id := range ids {
		run, err := r.Runs.Get(id)
		if errors.Is(err, exec.ErrNoRun) || err == nil && run.Status.Ended() {
			e.remove(ctx, containerName(id))
			r.removeWork(id)
		}
	}
	left, _ := filepath.Glob(r.workDir("*"))
	for _, dir := range left {
		id := strings.TrimPrefix(filepath.Base(dir), "docker-")
		if run, err := r.Runs.Get(id); errors.Is(err, exec.ErrNoRun) || err == nil && run.Status.Ended() {
			r.removeWork(id)
		}
	}
}

// resultText returns what the helper wrote as its result; nil if nothing.
func (r *Runner) resultText(ctx context.Context, e *engine, id string) ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(r.workDir(id), filepath.Base(delegate.ResultPath)))
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return text, err
	}
	return e.fileIn(ctx, id, delegate.ResultPath)
}
