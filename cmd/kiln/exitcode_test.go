package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/kilnbuild/kiln/exec"
)

func TestExitCodeOf(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, codeOK},
		{errors.New("x"), codeError},
		{fmt.Errorf("run: %w", exec.ErrFailed), codeStepFailed},
		{fmt.Errorf("run: %w", context.Canceled), codeInterrupted},
		{told(withCode(codeTimedOut, exec.ErrFailed)), codeTimedOut},
		{&diagError{}, codeError},
	} {
		if got := exitCodeOf(tt.err); got != tt.want {
			t.Errorf("exitCodeOf(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}
