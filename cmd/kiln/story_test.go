package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/plan"
)

const storySource = `step "build" {
  script = [
    "true",
    "make",
  ]
}
`

// storySteps are steps as plan makes them, with places in storySource.
func storySteps(t *testing.T) ([]*plan.Step, map[string]*hcl.File) {
	t.Helper()
	file, diags := hclsyntax.ParseConfig([]byte(storySource), "kiln.hcl", hcl.InitialPos)
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	at := func(line int, text string) hcl.Range {
		lines := strings.SplitAfter(storySource, "\n")
		column := strings.Index(lines[line-1], text)
		byteAt := len(strings.Join(lines[:line-1], "")) + column
		return hcl.Range{Filename: "kiln.hcl", Start: hcl.Pos{Line: line, Column: column + 1, Byte: byteAt},
			End: hcl.Pos{Line: line, Column: column + 1 + len(text), Byte: byteAt + len(text)}}
	}
	var steps []*plan.Step
	for _, addr := range []string{"step.fetch", "step.build", `step.test["a"]`, "step.last"} {
		steps = append(steps, &plan.Step{Step: &formula.Step{
			Addr:   addr,
			Range:  at(1, `step "build"`),
			Action: formula.Action{Script: []string{"true", "make"}, Ranges: []hcl.Range{at(3, `"true"`), at(4, `"make"`)}},
		}})
	}
	return steps, map[string]*hcl.File{"kiln.hcl": file}
}

// tellStory feeds a run in which one step is remembered, one fails, one ends well
// and one is skipped.
func tellStory(s *story, a *app, steps []*plan.Step, files map[string]*hcl.File) {
	failed := &exec.StepError{Step: steps[1], Failure: exec.FailedExit, ExitCode: 2, Entry: 1,
		Tail: []string{"cc main.c", "main.c:1: \x1b[31merror\x1b[0m\x1b[2J"}}
	s.progress(plan.Progress{Ware: "ware.src", Phase: plan.PhaseFetch, Done: 1 << 20, Total: 4 << 20})
	s.progress(plan.Progress{Ware: "ware.src", Phase: plan.PhaseFetch, End: true})
	s.expect(steps, files)
	for _, e := range []exec.Event{
		{Kind: exec.StepRemembered, Step: steps[0], Duration: 2100 * time.Millisecond},
		{Kind: exec.StepStarted, Step: steps[1]},
		{Kind: exec.StepStarted, Step: steps[2]},
		{Kind: exec.StepLog, Step: steps[1], Line: []byte("cc main.c")},
		{Kind: exec.StepLog, Step: steps[2], Line: []byte("10%\r20%\r30%")},
		{Kind: exec.StepLog, Step: steps[1], Line: []byte("main.c:1: \x1b[31merror\x1b[0m\x1b[2J")},
		{Kind: exec.StepPacking, Step: steps[2]},
		{Kind: exec.StepDone, Step: steps[2], Duration: 84 * time.Millisecond},
		{Kind: exec.StepFailed, Step: steps[1], Duration: 61 * time.Second, Err: failed},
		{Kind: exec.StepSkipped, Step: steps[3]},
	} {
		s.event(e)
	}
	s.finish(a, exec.Result{Ran: 1, Remembered: 1, Failed: []*exec.StepError{failed}, Skipped: 1}, 75*time.Second)
	s.close()
}

func TestStoryGolden(t *testing.T) {
	for _, tt := range []struct {
		name         string
		color, quiet bool
	}{{"plain", false, false}, {"color", true, false}, {"quiet", false, true}} {
		t.Run(tt.name, func(t *testing.T) {
			steps, files := storySteps(t)
			var b bytes.Buffer
			a := &app{stderr: &b, color: "never"}
			if tt.color {
				a.color = "always"
			}
			tellStory(a.newStory(tt.quiet), a, steps, files)
			golden(t, filepath.Join("testdata/story", tt.name+".txt"), b.Bytes())
		})
	}
}

// golden compares got with a file, or with -update writes it.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (-update rewrites it); got:\n%s", name, got)
	}
}

func TestHarmless(t *testing.T) {
	for _, tt := range []struct {
		in, plain, color string
	}{
		{"plain text\tand tab", "plain text\tand tab", "plain text\tand tab"},
		{"naïve ✓ 日本", "naïve ✓ 日本", "naïve ✓ 日本"},
		{"\x1b[31mred\x1b[0m", "red", "\x1b[31mred\x1b[0m\x1b[0m"},
		{"\x1b[2J\x1b]0;title\x07", `\x1b[2J\x1b]0;title\x07`, `\x1b[2J\x1b]0;title\x07`},
		{"\x1b[31", `\x1b[31`, `\x1b[31`},
		{"\u009b2J \u202e \u200b \ufeff", `\u009b2J \u202e \u200b \ufeff`, `\u009b2J \u202e \u200b \ufeff`},
		{"\xff\xc3", `\xff\xc3`, `\xff\xc3`},
		{"\x00\x7f\r\n", `\x00\x7f\x0d\x0a`, `\x00\x7f\x0d\x0a`},
	} {
		if got := harmless(tt.in, false); got != tt.plain {
			t.Errorf("harmless(%q, false) = %q, want %q", tt.in, got, tt.plain)
		}
		if got := harmless(tt.in, true); got != tt.color {
			t.Errorf("harmless(%q, true) = %q, want %q", tt.in, got, tt.color)
		}
	}
}

func FuzzHarmless(f *testing.F) {
	f.Add("\x1b[1m\x1b[2J\u202e\xff\r")
	f.Fuzz(func(t *testing.T, s string) {
		out := harmless(s, false)
		for _, r := range out {
			if r != '\t' && !showable(r) {
				t.Fatalf("harmless(%q) = %q has %q", s, out, r)
			}
		}
		if again := harmless(out, false); again != out {
			t.Fatalf("harmless(%q) = %q, and again %q", s, out, again)
		}
	})
}

// TestLiveResize draws on a screen whose width shrinks: the rows to erase are those
// that the lines take after the terminal has wrapped them.
func TestLiveResize(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	columns := 80
	l := &live{file: w, size: func() (int, int) { return columns, 24 }}
	l.write(nil, []string{strings.Repeat("x", 100), "short"})
	columns = 30
	l.write([]byte("done\n"), []string{"short"})
	l.close()
	w.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(r); err != nil {
		t.Fatal(err)
	}
	out := b.String()
	for _, want := range []string{
		strings.Repeat("x", 79) + "\nshort\n", // cut to the width
		"\r\x1b[4A\x1b[Jdone\nshort\n",        // 79 columns take 3 rows of 30
		"\x1b[?25h",                           // the cursor is back
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
}

func TestCutColumns(t *testing.T) {
	for _, tt := range []struct {
		in   string
		n    int
		want string
	}{
		{"abc", 3, "abc"}, {"abcd", 3, "abc"}, {"日本語", 5, "日本"}, {"e\u0301e", 1, "e\u0301"},
		{"\x1b[31mabc\x1b[0m", 2, "\x1b[31mab\x1b[0m"}, {"", 0, ""},
	} {
		if got := cutColumns(tt.in, tt.n); got != tt.want {
			t.Errorf("cutColumns(%q, %d) = %q, want %q", tt.in, tt.n, got, tt.want)
		}
	}
}

func TestFailedCode(t *testing.T) {
	timeout := &exec.StepError{Failure: exec.FailedTimeout}
	exit := &exec.StepError{Failure: exec.FailedExit}
	if got := failedCode([]*exec.StepError{timeout, timeout}); got != codeTimedOut {
		t.Errorf("two timeouts: %d", got)
	}
	if got := failedCode([]*exec.StepError{timeout, exit}); got != codeStepFailed {
		t.Errorf("a timeout and a failure: %d", got)
	}
	if err := runError(exec.Result{}, errors.New("x")); exitCodeOf(err) != codeError {
		t.Errorf("runError: %v", err)
	}
}

func TestSpeedometer(t *testing.T) {
	now := time.Unix(1000, 0)
	var s speedometer
	for _, tt := range []struct {
		after time.Duration
		done  int64
		want  float64
	}{
		{0, 0, 0},
		{100 * time.Millisecond, 500, 0}, // too soon to tell
		{900 * time.Millisecond, 1000, 1000},
		{time.Second, 5000, 2000}, // 4000 in the last second counts for a third
		{500 * time.Millisecond, 10, 0},
	} {
		now = now.Add(tt.after)
		if s.at(tt.done, now); s.rate != tt.want {
			t.Errorf("%d bytes at %s: %g bytes a second, want %g", tt.done, now.UTC().Format("05.0"), s.rate, tt.want)
		}
	}
}
