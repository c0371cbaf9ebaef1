// Command kiln turns a formula file into wares: it checks and plans formulas,
// runs their steps and keeps what they made. The work is done by the packages
// formula, plan, exec, pack and warehouse; this one parses the command line,
// prints, and maps errors to exit codes.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

func main() {
	if os.Getenv("GOGC") == "" {
		// A plan of 10,000 steps holds 30 MB and makes 100 MB of garbage: collecting
		// it less often saves a fifth of the time, for 20 MB more.
		debug.SetGCPercent(400)
	}
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// A checkedWriter remembers the first error, so that a result that did not arrive
// is not taken for one that did.
type checkedWriter struct {
	io.Writer
	err error
}

func (w *checkedWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if w.err == nil {
		w.err = err
	}
	return n, err
}

// run is main with everything it touches as an argument. It returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The first signal cancels ctx; the second one ends kiln at once.
	context.AfterFunc(ctx, stop)

	results := &checkedWriter{Writer: stdout}
	a := &app{stdout: results, stderr: stderr}
	root := newRootCmd(a, args...)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	for _, f := range a.atEnd {
		f()
	}
	if err != nil && ctx.Err() != nil {
		err = withCode(codeInterrupted, err)
	}
	if err == nil && results.err != nil {
		err = fmt.Errorf("print the result: %w", results.err)
	}
	a.printError(err)
	return exitCodeOf(err)
}
