package function

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/internal/jsonschema"
)

// A LocalFunc executes a Go func in this process.
type LocalFunc[A, B any] struct {
	f       func(context.Context, A) (B, error)
	in, out *jsonschema.Schema
	timeout time.Duration
}

// Local returns an executor around f. Of the options SchemaIn, SchemaOut and Timeout
// count. Nothing can end a Go func but itself: the timeout is a deadline in f's
// context, counted from when f first looks at it. The error is about a schema.
func Local[A, B any](f func(context.Context, A) (B, error), options ...Option) (*LocalFunc[A, B], error) {
	o, err := collect(options)
	if err == nil {
		err = o.onlyFor("Local", "SchemaIn", "SchemaOut", "Timeout")
	}
	if err != nil {
		return nil, err
	}
	return &LocalFunc[A, B]{f: f, in: o.in, out: o.out, timeout: o.timeout}, nil
}

// Execute calls the func. An error of its own becomes a *FunctionError that wraps it.
func (l *LocalFunc[A, B]) Execute(ctx context.Context, input A) (B, error) {
	var none B
	if l.in != nil {
		if err := l.in.Validate(input); err != nil {
			return none, invalid(Input, err)
		}
	}
	limited := &deadline{Context: ctx, timeout: l.timeout}
	output, err := l.f(limited, input)
	if err != nil {
		err = l.failed(ctx, limited, err)
		limited.over()
		return none, err
	}
	limited.over()
	if l.out != nil {
		if err := l.out.Validate(output); err != nil {
			return none, invalid(Output, err)
		}
	}
	return output, nil
}

// failed says what an error of the func means.
func (l *LocalFunc[A, B]) failed(ctx context.Context, limited *deadline, err error) error {
	switch {
	case ctx.Err() != nil:
		return &CancelledError{Cause: context.Cause(ctx)}
	case limited.expired():
		return &TimeoutError{Limit: l.timeout}
	}
	var own *FunctionError
	if errors.As(err, &own) {
		return err
	}
	return &FunctionError{Message: err.Error(), Err: err}
}

// A deadline is a context with a timeout that costs nothing until somebody looks at
// it: most functions never do, and a timer takes longer than they.
type deadline struct {
	context.Context
	timeout time.Duration
	mu      sync.Mutex
	inner   context.Context // made when it is first looked at
	cancel  context.CancelFunc
	ended   bool
}

func (d *deadline) look() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.inner == nil {
		d.inner, d.cancel = context.WithTimeout(d.Context, d.timeout)
		if d.ended {
			d.cancel()
		}
	}
	return d.inner
}

func (d *deadline) Deadline() (time.Time, bool) { return d.look().Deadline() }
func (d *deadline) Done() <-chan struct{}       { return d.look().Done() }
func (d *deadline) Err() error                  { return d.look().Err() }

// expired reports whether the function's time was up.
func (d *deadline) expired() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.inner != nil && errors.Is(d.inner.Err(), context.DeadlineExceeded)
}

// over ends the context: the function has returned.
func (d *deadline) over() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	if d.cancel != nil {
		d.cancel()
	}
}
