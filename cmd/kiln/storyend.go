package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/exec"
)

// finish tells how the run ended: each step that failed once more, with its line of
// the formula and the end of its log, and a summary.
func (s *story) finish(a *app, r exec.Result, d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, failed := range r.Failed {
		s.failure(a, failed)
	}
	if s.quiet && len(r.Failed) == 0 {
		return
	}
	parts := []string{count(r.Ran, "step") + " ran"}
	for _, part := range []struct {
		n    int
		text string
		c    paint
	}{{r.Remembered, "remembered", plain}, {len(r.Failed), "failed", red}, {r.Skipped, "skipped", plain}} {
		if part.n > 0 {
			parts = append(parts, part.c.on(s.color, fmt.Sprintf("%d %s", part.n, part.text)))
		}
	}
	fmt.Fprintf(&s.buf, "%s in %s\n", strings.Join(parts, ", "), seconds(d))
	s.flush()
}

// failures tells each step that failed once more.
func (s *story) failures(a *app, failed []*exec.StepError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range failed {
		s.failure(a, e)
	}
	s.flush()
}

// failure is an HCL diagnostic at what failed, and the log.
func (s *story) failure(a *app, e *exec.StepError) {
	diag := &hcl.Diagnostic{
		Severity: hcl.DiagError,
		Summary:  "Step failed",
		Detail:   harmless(e.Error(), false) + ".",
		Subject:  failedAt(e).Ptr(),
	}
	var b bytes.Buffer
	w := hcl.NewDiagnosticTextWriter(&b, s.files, uint(a.width()), s.color)
	if err := w.WriteDiagnostic(diag); err != nil {
		fmt.Fprintf(&b, "Error: %s\n\n", diag.Detail)
	}
	s.buf.WriteString("\n")
	s.buf.Write(b.Bytes())
	if len(e.Tail) == 0 {
		return
	}
	s.buf.WriteString("The end of its log:\n")
	for _, line := range e.Tail {
		s.buf.WriteString("  " + harmless(line, s.color) + "\n")
	}
	s.buf.WriteString("\n")
}

// what says how a step failed, for a line that names the step already.
func what(err error) string {
	var e *exec.StepError
	if errors.As(err, &e) {
		return e.What()
	}
	return fmt.Sprint(err)
}

// failedAt returns the place in the formula that a failure is about: the script
// entry, the command, the input, the output, or the step.
func failedAt(e *exec.StepError) hcl.Range {
	for _, o := range e.Step.Outputs {
		if e.Failure == exec.FailedOutput && o.Name == e.Output {
			return o.Range
		}
	}
	for _, in := range e.Step.Inputs {
		if e.Failure == exec.FailedInput && in.Port == e.Port {
			return in.Range
		}
	}
	ranges := e.Step.Action.Ranges
	switch {
	case e.Failure != exec.FailedExit && e.Failure != exec.FailedSignal:
		return e.Step.Range
	case e.Entry >= 0 && e.Entry < len(ranges):
		return ranges[e.Entry]
	case len(e.Step.Action.Exec) > 0 && len(ranges) > 0:
		return ranges[0]
	}
	return e.Step.Range
}
