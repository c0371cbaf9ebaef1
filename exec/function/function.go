// Package function runs typed functions: code that takes a value and gives a value,
// both of which have the JSON form of a Go type and may have to fit a JSON Schema. A
// function is a Go func in this process, or a command in a container that speaks
// the protocol of docs/functions.md. What runs in the container, and how it is cut
// off from the machine, is package exec/container's.
package function

import (
	"context"
	"time"
)

// An Executor executes one function. It is safe for concurrent use.
type Executor[A, B any] interface {
	// Execute calls the function. Its errors are an *InvalidError, *TimeoutError,
	// *CancelledError, *MemoryError, *ProtocolError or *FunctionError; any other is
	// about the machine. What was started has ended when it returns.
	Execute(ctx context.Context, input A) (B, error)
}

// Limits that hold unless an option says otherwise.
const (
	DefaultTimeout   = 30 * time.Second
	DefaultMemory    = 256 << 20
	DefaultMaxOutput = 64 << 20
)
