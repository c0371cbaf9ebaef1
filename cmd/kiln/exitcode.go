package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kilnbuild/kiln/exec"
	"github.com/spf13/cobra"
)

// Exit codes. 2 is left to Go panics; the numbers from 100 on follow Nix's idea
// that a script can tell why a build failed.
const (
	codeOK               = 0
	codeError            = 1
	codeDiffer           = 1 // of kiln ware diff, as of diff(1)
	codeTrouble          = 3
	codeStepFailed       = 100
	codeTimedOut         = 101
	codeMismatch         = 102
	codeMissing          = 103
	codeNotDeterministic = 104
	codeSandbox          = 105
	codeOverLimit        = 106
	codeNotRun           = 125
	codeInterrupted      = 130
)

// exitCodes is the one table of exit codes: help prints it.
var exitCodes = []struct {
	code    int
	meaning string
}{
	{codeOK, "done"},
	{codeError, "wrong usage, a mistake in the formula, or any error not named below; of kiln ware diff: there are differences; of kiln lock --check: the lock file would change"},
	{codeTrouble, "kiln ware diff: the two could not be compared, and nothing below says why"},
	{codeStepFailed, "a step failed"},
	{codeTimedOut, "every step that failed took longer than its timeout"},
	{codeMismatch, "a hash did not match, or a ware was changed on disk"},
	{codeMissing, "a ware is missing or could not be fetched"},
	{codeNotDeterministic, "a step made different wares from the same inputs (reserved)"},
	{codeSandbox, "the sandbox could not be set up on this machine"},
	{codeOverLimit, "kiln gc: what is in use is larger than the limit"},
	{codeNotRun, "kiln exec, kiln runs wait: not the command failed, but what was around it, or it was not run"},
	{codeInterrupted, "interrupted by Ctrl-C or SIGTERM"},
}

func exitCodesHelp() string {
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	for _, e := range exitCodes {
		fmt.Fprintf(&b, "  %3d  %s\n", e.code, e.meaning)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func newExitCodesTopic(*app) *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes mean",
		Long:  exitCodesHelp(),
	}
}

// codedError carries the exit code of an error whose type does not tell it.
type codedError struct {
	error
	code int
}

func (e *codedError) Unwrap() error { return e.error }

// withCode makes kiln exit with code if err is what the command ends with.
func withCode(code int, err error) error { return &codedError{err, code} }

// exitCodeOf maps the error a command ended with to kiln's exit code.
func exitCodeOf(err error) int {
	var coded *codedError
	switch {
	case err == nil:
		return codeOK
	case errors.As(err, &coded):
		return coded.code
	case errors.Is(err, context.Canceled):
		return codeInterrupted
	case errors.Is(err, exec.ErrFailed):
		return codeStepFailed
	}
	return codeError
}
