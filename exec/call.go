package exec

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/function"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/internal/jsonschema"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
)

// calls runs the steps of a run that are calls of functions. It has a sandbox of its
// own, entered for the first one.
type calls struct {
	local  *warehouse.Local
	ctx    context.Context
	cancel context.CancelFunc
	open   func() (*function.Sandbox, error)
	events chan callEvent
	ended  chan struct{} // closed when nobody reads events any more
	under  sync.WaitGroup
	box    *function.Sandbox
	noted  sync.Once
}

// A callEvent is a line of a call's log, or its end.
type callEvent struct {
	st   *state
	line []byte // of its log; nil: it has ended
	rec  warehouse.Record
	took time.Duration
	err  error
}

func newCalls(ctx context.Context, local *warehouse.Local, binaries func() (container.Binaries, error)) *calls {
	c := &calls{local: local, events: make(chan callEvent, 64), ended: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(ctx)
	c.open = sync.OnceValues(func() (*function.Sandbox, error) {
		if binaries == nil {
			return nil, errors.New("no executor was given")
		}
		b, err := binaries()
		if err != nil {
			return nil, fmt.Errorf("load executor: %w", err)
		}
		c.box, err = function.OpenWith(local, b)
		return c.box, err
	})
	return c
}

// close ends what runs and waits for it.
func (c *calls) close() {
	c.cancel()
	close(c.ended)
	c.under.Wait()
	if c.box != nil {
		c.box.Close()
	}
}

func (c *calls) send(e callEvent) {
	select {
	case c.events <- e:
	case <-c.ended:
	}
}

// startCall calls a step's function.
func (r *run) startCall(st *state) {
	ctx, cancel := context.WithCancel(r.calls.ctx)
	st.status, st.began, st.cancel = running, time.Now(), cancel
	r.emit(Event{Kind: StepStarted, Step: st.Step})
	c := r.calls
	c.under.Go(func() {
		defer cancel()
		box, err := c.open()
		e := callEvent{st: st, err: err}
		if err == nil {
			began := time.Now()
			e.rec, e.err = c.call(ctx, box, st)
			e.took = time.Since(began)
		}
		c.send(e)
	})
}

// callEvent takes in what happened to a call. An error is about the run as a whole.
func (r *run) callEvent(e callEvent) error {
	st := e.st
	if e.line != nil {
		st.log.Write(e.line, func(line []byte) { r.emit(Event{Kind: StepLog, Step: st.Step, Line: line}) })
		return nil
	}
	var refused *container.Refused
	switch {
	case e.err == nil:
		r.ended(st, map[string]warehouse.Record{formula.CallOutput: e.rec}, e.took)
		return nil
	case errors.As(e.err, &refused):
		return e.err
	}
	r.slots++
	if errors.Is(e.err, function.ErrCancelled) {
		r.skip(st)
		return nil
	}
	failure := &StepError{Failure: FailedCall, Err: e.err}
	if errors.Is(e.err, function.ErrTimeout) {
		failure.Failure, failure.Entry = FailedTimeout, -1
	}
	r.fail(st, failure)
	return nil
}

// call calls a function and makes a ware of its output.
func (c *calls) call(ctx context.Context, box *function.Sandbox, st *state) (warehouse.Record, error) {
	log := func(line []byte) { c.send(callEvent{st: st, line: append(bytes.Clone(line), '\n')}) }
	f, err := openFunction(box, st.resolved, function.Logs(log))
	if err != nil {
		return warehouse.Record{}, err
	}
	defer f.Close()
	c.noted.Do(func() {
		for _, note := range f.Notes() {
			log([]byte("kiln: " + note))
		}
	})
	output, err := f.Execute(ctx, st.Action.Call.Input)
	if err != nil {
		return warehouse.Record{}, err
	}
	text, err := jsonschema.Encode(output)
	if err != nil {
		return warehouse.Record{}, err
	}
	return c.ware(ctx, append(text, '\n'))
}

// openFunction makes the executor of a call's function.
func openFunction(box *function.Sandbox, r plan.Resolved, more ...function.Option) (*function.ContainerFunc[json.RawMessage, any], error) {
	call := r.Action.Call
	options := append(more, function.In(box), function.WorkDir(r.Cwd), function.User(r.User), function.Workers(1))
	for _, in := range r.Inputs {
		if in.Port == "/" {
			options = append(options, function.Root(in.Ware))
		} else {
			options = append(options, function.Mount(in.Port, in.Ware))
		}
	}
	for _, v := range r.Env {
		options = append(options, function.Env(v.Name, v.Value))
	}
	if r.Timeout > 0 {
		options = append(options, function.Timeout(r.Timeout))
	}
	if call.Memory > 0 {
		options = append(options, function.Memory(call.Memory))
	}
	if call.SchemaIn != nil {
		options = append(options, function.SchemaIn(string(call.SchemaIn)))
	}
	if call.SchemaOut != nil {
		options = append(options, function.SchemaOut(string(call.SchemaOut)))
	}
	return function.Container[json.RawMessage, any](r.Action.Exec, options...)
}

// CheckFunction starts the command of a call that is resolved, without a request: it
// has to end well.
func CheckFunction(ctx context.Context, box *function.Sandbox, r plan.Resolved) error {
	f, err := openFunction(box, r)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Check(ctx)
}

// ware makes a ware of one file.
func (c *calls) ware(ctx context.Context, text []byte) (warehouse.Record, error) {
	dir, err := c.local.Stage("call")
	if err != nil {
		return warehouse.Record{}, err
	}
	defer os.RemoveAll(dir)
	file := dir + "/output"
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return warehouse.Record{}, err
	}
	if err := os.Chmod(file, 0o644); err != nil {
		return warehouse.Record{}, err
	}
	return pack.Adopt(ctx, c.local, file, pack.Options{})
}
