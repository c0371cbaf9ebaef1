package supervise

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/registry"
)

// A Job is a run that is being carried out.
type Job struct {
	exec.Run
	Stdout, Stderr *os.File // what is written here comes to the run's log files
	registry       *registry.Registry
}

// Running notes that the command has started, and how what is left of it is found
// should this process be killed; nil: nothing can be left.
func (j *Job) Running(handle any) error {
	var text json.RawMessage
	if handle != nil {
		var err error
		if text, err = json.Marshal(handle); err != nil {
			return err
		}
	}
	now := time.Now().UTC() // when it is written may be later
	_, err := j.registry.Update(j.ID, func(r *exec.Run) {
		r.Status, r.Started, r.Handle = exec.RunRunning, now, text
	})
	return err
}

// Exited notes how the command has ended, before anything else is done.
func (j *Job) Exited(code, signal int) error { return j.registry.WriteExit(j.ID, code, signal) }

// holdFD is the hold that a supervisor inherits.
const holdFD = 3

// Main is the supervisor of the run in dir, which it holds by inheritance. open gives
// the environment of a runner by its name. It returns when the run has ended and its
// record says so.
func Main(dir string, open func(runner string) (Environment, error)) error {
	unix.CloseOnExec(holdFD)
	hold, err := registry.Inherited(os.NewFile(holdFD, "hold"), dir)
	if err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	defer hold.Close()
	g, id := registry.Open(filepath.Dir(dir)), filepath.Base(dir)
	run, err := g.Get(id)
	if err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	end := carry(g, run, open)
	if _, err := g.Update(id, end.Settle); err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	return nil
}

func carry(g *registry.Registry, run exec.Run, open func(string) (Environment, error)) exec.End {
	ctx, stop := lifetime(g, run)
	defer stop()
	env, err := open(run.Runner)
	if err != nil {
		return exec.NotRun(exec.ReasonSetup, err.Error())
	}
	logs, err := openLogs(run)
	if err != nil {
		return exec.NotRun(exec.ReasonSetup, "open its logs: "+err.Error())
	}
	end := exec.NotRun("", "")
	if g.CancelRequested(run.ID) {
		end.Cancelled = true
	} else {
		end = env.Carry(ctx, &Job{Run: run, Stdout: logs[0].File(), Stderr: logs[1].File(), registry: g})
	}
	for _, l := range logs {
		left, err := l.close()
		end.Unlogged += left
		if err != nil && end.Message == "" {
			end.Message = "its log is not complete: " + err.Error()
		}
	}
	return end
}

// lifetime returns a context that ends when the run is to: it was cancelled, its time
// is up, or this process is asked to end.
func lifetime(g *registry.Registry, run exec.Run) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	if run.Spec.Timeout > 0 {
		// What has passed since it was submitted is small, and this machine's clock may have jumped.
		passed := min(max(0, time.Since(run.Created)), run.Spec.Timeout)
		time.AfterFunc(run.Spec.Timeout-passed, func() { cancel(ErrTimeout) })
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	w := g.Watch(run.ID)
	go func() {
		for !g.CancelRequested(run.ID) {
			select {
			case <-w.C:
			case s := <-signals:
				cancel(errors.Join(ErrCancelled, fmt.Errorf("its supervisor got the signal %v", s)))
				return
			case <-ctx.Done():
				return
			}
		}
		cancel(ErrCancelled)
	}()
	return ctx, func() {
		cancel(nil)
		signal.Stop(signals)
		w.Close()
	}
}
