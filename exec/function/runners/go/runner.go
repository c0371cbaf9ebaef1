// Package runner is the inside of a function that is written in Go: it speaks the
// protocol of docs/functions.md on stdin and stdout and calls a Go func for every
// request. It needs nothing but the standard library.
//
//	func main() {
//		runner.Main(func(ctx context.Context, in Numbers) (Summary, error) { … })
//	}
package runner

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/kilnbuild/kiln/internal/jsonschema/quick"
)

// An Error is an error with a code and details, which reach the caller.
type Error struct {
	Message string `json:"message"`
	Code    string `json:"code,omitempty"`
	Details any    `json:"details,omitempty"`
}

func (e *Error) Error() string { return e.Message }

type request struct {
	SchemaIn  json.RawMessage `json:"schema_in"`
	SchemaOut json.RawMessage `json:"schema_out"`
	Input     json.RawMessage `json:"input"`
}

type response struct {
	OK     bool   `json:"ok"`
	Output any    `json:"output"`
	Error  *Error `json:"error,omitempty"`
}

// Main answers requests until stdin ends, and ends the process. What f writes to
// os.Stdout goes to the log: stdout is for responses.
func Main[A, B any](f func(context.Context, A) (B, error)) {
	out := os.Stdout
	os.Stdout = os.Stderr
	if err := Serve(os.Stdin, out, f); err != nil {
		fmt.Fprintln(os.Stderr, "runner:", err)
		os.Exit(1)
	}
}

// Serve answers the requests in r, one a line, until there are no more.
func Serve[A, B any](r io.Reader, w io.Writer, f func(context.Context, A) (B, error)) error {
	lines := bufio.NewReaderSize(r, 64<<10)
	schemas := map[string]*quick.Program{}
	for {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			answer, encodeErr := json.Marshal(respond(line, schemas, f))
			if encodeErr != nil {
				answer, _ = json.Marshal(failed("output_invalid", encodeErr.Error(), nil))
			}
			if _, err := w.Write(append(answer, '\n')); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func failed(code, message string, details any) response {
	return response{Error: &Error{Message: message, Code: code, Details: details}}
}

func respond[A, B any](line []byte, schemas map[string]*quick.Program, f func(context.Context, A) (B, error)) response {
	var q request
	if err := json.Unmarshal(line, &q); err != nil {
		return failed("request_invalid", "the request is not JSON: "+err.Error(), nil)
	}
	var input A
	if bad := check(schemas, q.SchemaIn, "input_invalid", func() (any, error) { return decode(q.Input) }); bad != nil {
		return *bad
	}
	if err := json.Unmarshal(q.Input, &input); err != nil {
		return failed("input_invalid", err.Error(), nil)
	}
	output, err := call(f, input)
	if err != nil {
		var own *Error
		if !errors.As(err, &own) {
			own = &Error{Message: err.Error()}
		}
		return response{Error: own}
	}
	if bad := check(schemas, q.SchemaOut, "output_invalid", func() (any, error) { return output, nil }); bad != nil {
		return *bad
	}
	return response{OK: true, Output: output}
}

// call calls f; a panic becomes an error, its stack goes to the log.
func call[A, B any](f func(context.Context, A) (B, error), input A) (output B, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			fmt.Fprintf(os.Stderr, "panic: %v\n%s", cause, debug.Stack())
			err = &Error{Message: fmt.Sprint("panic: ", cause), Code: "panic"}
		}
	}()
	return f(context.Background(), input)
}

func decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

// check checks a value against a schema, as far as package quick knows it. Who sent
// the request checks all of it.
func check(schemas map[string]*quick.Program, schema json.RawMessage, code string, value func() (any, error)) *response {
	if schema == nil {
		return nil
	}
	program := schemas[string(schema)]
	if program == nil {
		doc, err := decode(schema)
		if err != nil {
			bad := failed("request_invalid", "the schema is not JSON: "+err.Error(), nil)
			return &bad
		}
		program = quick.Compile(doc)
		schemas[string(schema)] = program
	}
	v, err := value()
	if err != nil {
		bad := failed(code, err.Error(), nil)
		return &bad
	}
	if verdict, problem := program.Check(v); verdict == quick.Invalid {
		bad := failed(code, "at "+problem.Pointer+": "+problem.Message, map[string]string{"pointer": problem.Pointer, "message": problem.Message})
		return &bad
	}
	return nil
}
