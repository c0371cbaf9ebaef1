package function

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/internal/jsonschema"
)

// What every error of a kind matches with errors.Is.
var (
	ErrInputInvalid  = errors.New("input invalid")
	ErrOutputInvalid = errors.New("output invalid")
	ErrTimeout       = errors.New("function timed out")
	ErrMemory        = errors.New("function ran out of memory")
	ErrCancelled     = errors.New("function was cancelled")
	ErrProtocol      = errors.New("function broke the protocol")
	ErrFunction      = errors.New("function failed")
)

// A Side is the input or the output of a function.
type Side string

// The sides of a function.
const (
	Input  Side = "input"
	Output Side = "output"
)

// A Violation is one way in which a value breaks its schema: JSON pointers into the
// value and into the schema, and the validator's words.
type Violation = jsonschema.Violation

// An InvalidError says that a value does not fit its schema, or has no JSON form.
// Then there are no violations. It matches ErrInputInvalid or ErrOutputInvalid.
type InvalidError struct {
	Side       Side
	Violations []Violation
	Err        error
}

func invalid(side Side, err error) error {
	e := &InvalidError{Side: side, Err: err}
	var violations jsonschema.Violations
	if errors.As(err, &violations) {
		e.Violations = violations
	}
	return e
}

func (e *InvalidError) Error() string { return fmt.Sprintf("%s invalid: %v", e.Side, e.Err) }
func (e *InvalidError) Unwrap() error { return e.Err }

// Is reports whether target is the sentinel of this side.
func (e *InvalidError) Is(target error) bool {
	return target == ErrInputInvalid && e.Side == Input || target == ErrOutputInvalid && e.Side == Output
}

// A TimeoutError says that a function took longer than it may. It also matches
// context.DeadlineExceeded.
type TimeoutError struct {
	Limit time.Duration
	Logs  []string // the last lines of its log
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("took longer than its timeout of %s", e.Limit)
}

// Is reports whether target is ErrTimeout or context.DeadlineExceeded.
func (e *TimeoutError) Is(target error) bool {
	return target == ErrTimeout || target == context.DeadlineExceeded
}

// A CancelledError says that the caller's context ended first.
type CancelledError struct{ Cause error }

func (e *CancelledError) Error() string { return fmt.Sprintf("cancelled: %v", e.Cause) }
func (e *CancelledError) Unwrap() error { return e.Cause }

// Is reports whether target is ErrCancelled.
func (e *CancelledError) Is(target error) bool { return target == ErrCancelled }

// A MemoryError says that a function was ended, or refused memory, because it would
// have used more than it may.
type MemoryError struct {
	Limit int64 // bytes
	Logs  []string
}

func (e *MemoryError) Error() string {
	return fmt.Sprintf("used more than its %d MiB of memory", e.Limit>>20)
}

// Is reports whether target is ErrMemory.
func (e *MemoryError) Is(target error) bool { return target == ErrMemory }

// A ProtocolError says that what a command wrote is not one response.
type ProtocolError struct {
	What     string // "it ended without a response"
	Preview  string // the beginning of what it wrote on stdout
	ExitCode int    // -1 when a signal ended it, or it had not ended
	Signal   int
	Logs     []string
}

func (e *ProtocolError) Error() string {
	text := "protocol error: " + e.What
	switch {
	case e.Signal != 0:
		text += fmt.Sprintf(", ended by signal %d (%s)", e.Signal, unix.SignalName(unix.Signal(e.Signal)))
	case e.ExitCode > 0:
		text += fmt.Sprintf(", exited with code %d", e.ExitCode)
	}
	if e.Preview != "" {
		text += fmt.Sprintf("; on stdout it wrote %q", e.Preview)
	}
	if n := len(e.Logs); n > 0 {
		text += fmt.Sprintf("; its log ends with %q", e.Logs[n-1])
	}
	return text
}

// Is reports whether target is ErrProtocol.
func (e *ProtocolError) Is(target error) bool { return target == ErrProtocol }

// A FunctionError is an error that the function itself reported.
type FunctionError struct {
	Message string          `json:"message"`
	Code    string          `json:"code,omitempty"`
	Details json.RawMessage `json:"details,omitempty"`
	Err     error           `json:"-"` // what a Go func returned
	Logs    []string        `json:"-"`
}

func (e *FunctionError) Error() string {
	if e.Code != "" {
		return e.Message + " (" + e.Code + ")"
	}
	return e.Message
}

func (e *FunctionError) Unwrap() error { return e.Err }

// Is reports whether target is ErrFunction.
func (e *FunctionError) Is(target error) bool { return target == ErrFunction }
