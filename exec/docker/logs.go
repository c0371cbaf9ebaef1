package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/registry"
)

// Logs writes what the engine has of a run's output, or once that was taken in, the
// run's directory. While the engine is restarted it waits for it to come back.
func (r *Runner) Logs(ctx context.Context, id string, follow bool, stdout, stderr io.Writer) error {
	out, errs := &skipping{to: stdout}, &skipping{to: stderr}
	for {
		run, err := r.patiently(ctx, id)
		if err != nil {
			return err
		}
		if run.Status.Ended() {
			return r.Runs.Logs(ctx, id, false, out.again(), errs.again())
		}
		if !r.beginning(id) && run.Status == exec.RunRunning {
			err = r.stream(ctx, id, follow, out.again(), errs.again())
			if err != nil && !gone(err) && !down(err) && ctx.Err() == nil && out.err == nil && errs.err == nil {
				return fmt.Errorf("read the log of run %s: %w", id, err)
			}
			if err := errors.Join(out.err, errs.err); err != nil {
				return err
			}
		}
		if !follow {
			return nil
		}
		if err := r.pause(ctx, run); err != nil {
			return err
		}
	}
}

// stream copies the engine's log of a run.
func (r *Runner) stream(ctx context.Context, id string, follow bool, stdout, stderr io.Writer) error {
	e, err := r.connect(ctx)
	if err != nil {
		return err
	}
	logs, err := e.ContainerLogs(ctx, containerName(id), client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Follow: follow})
	if err != nil {
		return err
	}
	defer logs.Close()
	_, err = stdcopy.StdCopy(stdout, stderr, logs)
	return err
}

// takeLogs copies the engine's log of a run that is over into its directory.
func (r *Runner) takeLogs(ctx context.Context, e *engine, id string) error {
	var files []*os.File
	for _, name := range []string{registry.StdoutFile, registry.StderrFile} {
		f, err := os.OpenFile(filepath.Join(r.Runs.Dir(id), name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("keep the log of run %s: %w", id, err)
		}
		defer f.Close()
		files = append(files, f)
	}
	if err := r.stream(ctx, id, false, files[0], files[1]); err != nil {
		return fmt.Errorf("keep the log of run %s: %w", id, err)
	}
	return errors.Join(files[0].Close(), files[1].Close())
}

// A skipping writer passes on what it has not had before: a log is read from its
// beginning each time.
type skipping struct {
	to   io.Writer // nil: nobody
	had  int64     // bytes passed on
	skip int64     // of those that come now, bytes had before
	err  error
}

// again is the writer for a log that is read from its beginning.
func (s *skipping) again() io.Writer {
	s.skip = s.had
	return s
}

func (s *skipping) Write(p []byte) (int, error) {
	n := int64(len(p))
	rest := p[min(n, s.skip):]
	s.skip -= n - int64(len(rest))
	if s.to == nil || len(rest) == 0 {
		return len(p), nil
	}
	wrote, err := s.to.Write(rest)
	s.had += int64(wrote)
	if err != nil {
		s.err = err
		return 0, err
	}
	return len(p), nil
}

// restartTime is how long an engine may be away before a run is given up for now.
const restartTime = time.Minute

// patiently is GetRun, which waits for an engine that is being restarted.
func (r *Runner) patiently(ctx context.Context, id string) (exec.Run, error) {
	until := time.Now().Add(restartTime)
	for {
		run, err := r.GetRun(ctx, id)
		if err == nil || !down(err) || time.Now().After(until) {
			if err != nil && down(err) {
				err = fmt.Errorf("%w; the run may go on there: kiln runs wait %s", err, id)
			}
			return run, err
		}
		select {
		case <-ctx.Done():
			return run, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// Wait waits for a run's container to end, and takes it in.
func (r *Runner) Wait(ctx context.Context, id string) (exec.Run, error) {
	for {
		run, err := r.patiently(ctx, id)
		if err != nil || run.Status.Ended() {
			return run, err
		}
		if err := r.pause(ctx, run); err != nil {
			return run, err
		}
	}
}

// pause waits until something about a run may have changed.
func (r *Runner) pause(ctx context.Context, run exec.Run) error {
	if r.beginning(run.ID) {
		w := r.Runs.Watch(run.ID)
		defer w.Close()
		select {
		case <-w.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	e, err := r.connect(ctx)
	if err != nil {
		return err
	}
	until, cancel := context.WithCancel(ctx)
	if end := deadline(run); !end.IsZero() && time.Now().Before(end) {
		until, cancel = context.WithDeadline(ctx, end)
	}
	defer cancel()
	wait := e.ContainerWait(until, containerName(run.ID), client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case <-wait.Result:
		return nil
	case <-wait.Error:
		select { // the engine was stopped, or the container is gone: GetRun tells
		case <-time.After(100 * time.Millisecond):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// cancelTime is how long the helper may take to end a command and say so, in seconds: its
// grace and some.
const cancelTime = 15

// Cancel asks the container to end.
func (r *Runner) Cancel(ctx context.Context, id string) (exec.Run, error) {
	run, err := r.GetRun(ctx, id)
	if err != nil || run.Status.Ended() {
		return run, err
	}
	if err := r.Runs.RequestCancel(id); err != nil {
		return run, err
	}
	for {
		if run, err = r.patiently(ctx, id); err != nil || run.Status.Ended() {
			return run, err
		}
		if !r.beginning(id) {
			e, err := r.connect(ctx)
			if err != nil {
				return run, err
			}
			if state, err := e.state(ctx, containerName(id)); err == nil && state != nil && state.Status == container.StateCreated {
				e.remove(ctx, containerName(id))
				continue
			}
			seconds := cancelTime
			_, err = e.ContainerStop(ctx, containerName(id), client.ContainerStopOptions{Timeout: &seconds})
			if err == nil || gone(err) {
				return r.Wait(ctx, id)
			}
			if !down(err) {
				return run, fmt.Errorf("cancel run %s: %w", id, err)
			}
		}
		if err := r.pause(ctx, run); err != nil {
			return run, err
		}
	}
}
