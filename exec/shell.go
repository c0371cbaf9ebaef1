package exec

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/container/wire"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/plan"
)

// ShellOptions says what runs in a step's container in place of its action.
type ShellOptions struct {
	Options                 // of which Warehouse, Binaries, MaxPIDs and Allow count
	Command       []string  // argv
	Stdin, Stdout *os.File  // the command's; Shell closes them here
	Stderr        io.Writer // takes what the command writes to its stderr, unless it has a Terminal
	Terminal      bool      // Stdin and Stdout are one terminal, for the command alone: its stderr too
	TerminalName  string    // TERM, where the step sets none; "": the step's
}

// A CommandError says that a command could not be started in a container.
type CommandError struct{ Err error }

func (e *CommandError) Error() string { return e.Err.Error() }
func (e *CommandError) Unwrap() error { return e.Err }

// Shell runs a command where a step would run: with its inputs, environment, user and
// working directory, as isolated as it is. Nothing that the command writes is kept,
// but for what it writes to paths of this machine that the step may write to. It
// returns the exit code, 128 and the number for a signal. The error is a *CommandError
// when the command could not be started, a *StepError when the step's inputs are not
// there, the context's when cancelled.
func Shell(ctx context.Context, r plan.Resolved, o ShellOptions) (code int, err error) {
	defer o.Stdin.Close()
	defer o.Stdout.Close()
	w := newWares(o.Warehouse, o.Shared, hostsOf([]*plan.Step{r.Step}, o.Allow))
	st := &state{Step: r.Step, resolved: r}
	checked := w.check(ctx, st)
	if err := errors.Join(checked.err, refused(r.Step, o.Allow)); err != nil {
		return 0, &StepError{Step: r.Step, Failure: FailedInput, Port: checked.port, Entry: -1, Err: err}
	}
	x, err := startExecutor(&o.Options, w.hosts)
	if err != nil {
		return 0, err
	}
	s := &shell{Executor: x, stderr: o.Stderr}
	defer s.close()
	uid, gid := ids(r.User)
	if err := x.MayRunAs(uid, gid); err != nil {
		return 0, &StepError{Step: r.Step, Failure: FailedSetup, Entry: -1, Err: err}
	}
	for _, f := range []*os.File{o.Stdin, o.Stdout} { // the command may not expect to be told to try again
		if err := unix.SetNonblock(int(f.Fd()), false); err != nil {
			return 0, fmt.Errorf("open the command's files: %w", err)
		}
	}
	if err := x.PrepareWith(shellJob(w, r, checked.mounts, o.Terminal), []*os.File{o.Stdin, o.Stdout}); err != nil {
		return 0, err
	}
	o.Stdin.Close() // that their other ends see when the command's are closed
	o.Stdout.Close()
	s.start = wire.Start{ID: shellID, Args: o.Command, Env: shellEnvironment(r.Step, o.TerminalName), Cwd: r.Cwd}
	defer context.AfterFunc(ctx, func() { s.End(shellID, 0) })()
	code, err = s.wait()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return code, err
}

// A shell is the only job of an executor.
type shell struct {
	*container.Executor
	start  wire.Start
	stderr io.Writer
}

const shellID = 1

// shellJob is the job of a step with all of its inputs.
func shellJob(w *wares, r plan.Resolved, mounts []wire.Mount, terminal bool) wire.Job {
	job := wire.Job{
		ID: shellID, Name: r.Addr, Scripts: r.Action.Script, GoOn: r.Action.Continue, Network: r.Network,
		ReadOnly: r.Action.Call != nil, Terminal: terminal,
	}
	job.UID, job.GID = ids(r.User)
	for _, m := range mounts {
		if m.Port == "/" {
			job.Root = &m
		} else {
			job.Mounts = append(job.Mounts, m)
		}
	}
	if r.Network {
		job.Mounts = w.addNetwork(job.Mounts, r.Step, job.Root)
	}
	slices.SortFunc(job.Mounts, byPort)
	return job
}

// shellEnvironment is a step's environment on a terminal of that name.
func shellEnvironment(s *plan.Step, terminal string) []string {
	env := environment(s)
	for i, v := range env {
		if strings.HasPrefix(v, "TERM=") && terminal != "" && !slices.ContainsFunc(s.Env, func(own formula.EnvVar) bool { return own.Name == "TERM" }) {
			env[i] = "TERM=" + terminal
		}
	}
	return env
}

// wait starts the job once its container is there and sees it to its end.
func (s *shell) wait() (code int, err error) {
	for frame := range s.Events() {
		switch frame.Kind {
		case wire.KindLog:
			_, data := frame.Log()
			s.stderr.Write(data) // what became of it changes nothing
		case wire.KindPrepared:
			if err := s.Start(s.start); err != nil {
				return 0, err
			}
		case wire.KindExited:
			var e wire.Exited
			if err := frame.Decode(&e); err != nil {
				return 0, err
			}
			if e.Signal > 0 {
				return 128 + e.Signal, nil
			}
			return e.Code, nil
		case wire.KindFailed:
			var f wire.Failed
			if err := frame.Decode(&f); err != nil {
				return 0, err
			}
			if f.Stage == wire.StageStart {
				return 0, &CommandError{errors.New(f.Err)}
			}
			return 0, errors.New(f.Err)
		}
	}
	return 0, s.Gone()
}

// close takes everything down.
func (s *shell) close() {
	go func() {
		for range s.Events() {
		}
	}()
	s.Executor.Close()
}
