// Package inside is the helper: what kiln does in the container that a runner made for
// a command. It is the first process there, or one that adopts what the command leaves
// behind, and ends when there is no other left.
package inside

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/capture"
	"github.com/kilnbuild/kiln/exec/delegate"
	"github.com/kilnbuild/kiln/warehouse"
)

// An Opener opens the warehouse at a URL.
type Opener func(ctx context.Context, url string) (warehouse.Store, error)

// A helper does what a payload says.
type helper struct {
	delegate.Payload
	open   Opener
	local  *warehouse.Local // opened when it is needed
	stores []warehouse.Store
	result delegate.Result
	marks  map[string]string // of frozen inputs, by port
	script string            // directory of the script
	uid    int
	gid    int
	inTime func()         // stops the clock: the command has ended
	logs   []*capture.Log // of stdout and stderr, or of both
}

// A failure is an error with the reason that the run's record gives for it.
type failure struct {
	reason exec.RunReason
	err    error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(reason exec.RunReason, err error) error {
	if err == nil {
		return nil
	}
	return &failure{reason, err}
}

// errEnded is what ends a helper that gets SIGTERM, errTime what ends it when its time is up.
var (
	errEnded = errors.New("it was asked to end")
	errTime  = errors.New("its time is up")
)

// Serve does what p says, writes the result and returns it. The error says why it could
// not be written.
func Serve(ctx context.Context, p delegate.Payload, open Opener) (delegate.Result, error) {
	// Its memory, its files and its environment, which may hold credentials, are not for
	// the command to see.
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	unix.Umask(0o022)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	h := &helper{Payload: p, open: open, script: delegate.Dir, inTime: func() {}}
	if p.Timeout > 0 {
		timer := time.AfterFunc(p.Timeout, func() { cancel(errTime) })
		h.inTime = func() { timer.Stop() }
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGTERM, unix.SIGINT)
	defer signal.Stop(signals)
	go func() {
		<-signals
		cancel(errEnded)
	}()
	h.result = delegate.Result{Version: p.Version, Run: p.Run, Offline: exec.OfflineNone}
	h.conclude(ctx, h.run(ctx))
	return h.result, h.deliver(context.WithoutCancel(ctx))
}

// run does everything but the result.
func (h *helper) run(ctx context.Context) error {
	if err := h.check(); err != nil {
		return fail(exec.ReasonSetup, err)
	}
	if err := h.place(ctx); err != nil {
		return fail(exec.ReasonInput, err)
	}
	if err := h.prepare(); err != nil {
		return fail(exec.ReasonSetup, err)
	}
	if err := h.command(ctx); err != nil {
		return err
	}
	if err := h.thawed(); err != nil {
		return fail(exec.ReasonInput, err)
	}
	return fail(exec.ReasonOutput, h.pack(ctx))
}

// conclude makes the result say how it ended.
func (h *helper) conclude(ctx context.Context, err error) {
	r := &h.result
	if r.Ended.IsZero() {
		r.Ended = time.Now().UTC()
	}
	var known *failure
	switch cause := context.Cause(ctx); {
	case err == nil:
		r.Status = exec.RunSucceeded
		return
	case errors.Is(cause, errTime):
		r.Status, r.Reason, r.Message = exec.RunFailed, exec.ReasonTimeout, fmt.Sprintf("its time, %s, was up", h.Spec.Timeout)
	case cause != nil:
		r.Status, r.Message = exec.RunCancelled, "it was asked to end"
	case errors.As(err, &known):
		r.Status, r.Reason, r.Message = exec.RunFailed, known.reason, err.Error()
	default:
		r.Status, r.Reason, r.Message = exec.RunFailed, exec.ReasonSetup, err.Error()
	}
	r.Outputs = nil
}
