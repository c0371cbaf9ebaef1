package exectest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/registry"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
)

// Elsewhere is the name under which the steps of these tests find the runner: as
// "container" they would run in containers of the plan's own.
const Elsewhere = "elsewhere"

// StepsPlan is a plan of two steps on a root ware with a shell, of which the second takes
// what the first makes: the directory /out with the file a.
func StepsPlan(t testing.TB, root warehouse.WareID, first string) *plan.Plan {
	t.Helper()
	base := formula.Input{Port: "/", From: formula.Ref{Ware: "ware.base"}, Mode: formula.Overlay}
	step := func(name, script string, inputs ...formula.Input) *formula.Step {
		return &formula.Step{
			Addr: "step." + name, Cwd: "/", User: "0:0", Inputs: append([]formula.Input{base}, inputs...),
			Action:  formula.Action{Script: []string{"set -e", script}, Interpreter: []string{"/bin/sh"}},
			Outputs: []formula.StepOutput{{Name: "out", Path: "/out", Packtype: "tree"}},
		}
	}
	f := &formula.Formula{
		Wares: []*formula.Ware{{Addr: "ware.base"}},
		Steps: []*formula.Step{
			step("first", first),
			step("second", "cat /in/a >/out; echo second", formula.Input{Port: "/in", From: formula.Ref{Step: "step.first", Output: "out"}, Mode: formula.ReadOnly}),
		},
	}
	p, err := plan.New(f, map[string]warehouse.WareID{"ware.base": root})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// RunSteps requires that steps on the runner make what they make in containers of a
// plan's own, that memos serve both, and that failure and cancelling are told alike. o
// says with which warehouse, memos and executor plans are run.
func RunSteps(t *testing.T, e Environment, o exec.Options) {
	r, err := e.Connect(e.Dir)
	if err != nil {
		t.Fatal(err)
	}
	s := &steps{e, o, r}
	t.Run("same wares", s.sameWares)
	t.Run("failing step", s.failing)
	t.Run("cancelled", s.cancelled)
}

type steps struct {
	Environment
	options exec.Options
	r       exec.Runner
}

// run runs the plan, changed and told line by line.
func (s *steps) run(ctx context.Context, t *testing.T, first string, change func(*exec.Options)) (exec.Result, string, error) {
	t.Helper()
	var story strings.Builder
	o := s.options
	o.Runners = exec.Runners{All: Elsewhere, Session: registry.NewID(), Open: func(string) (exec.Runner, error) { return s.r, nil }}
	o.Observe = func(e exec.Event) {
		switch e.Kind {
		case exec.StepLog:
			story.WriteString(e.Step.Addr + ": " + string(e.Line) + "\n")
		case exec.StepDone:
			story.WriteString(e.Step.Addr + " done\n")
		}
	}
	if change != nil {
		change(&o)
	}
	result, err := exec.RunPlan(ctx, StepsPlan(t, s.Base.Root, first), o)
	return result, story.String(), err
}

func (s *steps) sameWares(t *testing.T) {
	const first = "mkdir /out; echo one >/out/a; echo log"
	away, story, err := s.run(t.Context(), t, first, nil)
	if err != nil {
		t.Fatalf("%v %v", err, away.Failed)
	}
	if story != "step.first: log\nstep.first done\nstep.second: second\nstep.second done\n" {
		t.Errorf("%s", story)
	}
	own := func(o *exec.Options) { o.Runners.All = exec.OwnContainers }
	if here, _, err := s.run(t.Context(), t, first, own); err != nil || s.Can.Offline != exec.OfflineNone && here.Remembered != 2 {
		t.Errorf("%v, %d remembered", err, here.Remembered)
	}
	here, _, err := s.run(t.Context(), t, first, func(o *exec.Options) { own(o); o.Force = true })
	if err != nil || here.Ran != 2 {
		t.Fatalf("%v %+v", err, here)
	}
	for addr, outputs := range here.Steps {
		if outputs["out"] != away.Steps[addr]["out"] {
			t.Errorf("%s makes %s here and %s elsewhere", addr, outputs["out"], away.Steps[addr]["out"])
		}
	}
}

func (s *steps) failing(t *testing.T) {
	result, _, err := s.run(t.Context(), t, "echo no >&2; exit 4", nil)
	if !errors.Is(err, exec.ErrFailed) || len(result.Failed) != 1 || result.Skipped != 1 {
		t.Fatalf("%v %+v", err, result)
	}
	if e := result.Failed[0]; e.Failure != exec.FailedExit || e.ExitCode != 4 || e.Entry != 1 || strings.Join(e.Tail, "") != "no" {
		t.Errorf("%+v", e)
	}
	result, _, _ = s.run(t.Context(), t, "true", nil)
	if len(result.Failed) != 1 || result.Failed[0].Failure != exec.FailedOutput || !strings.Contains(result.Failed[0].What(), "/out") {
		t.Errorf("%+v", result.Failed)
	}
}

func (s *steps) cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var run string
	_, _, err := s.run(ctx, t, "echo runs; sleep 100", func(o *exec.Options) {
		run = o.Runners.Session
		o.Observe = func(e exec.Event) {
			if e.Kind == exec.StepLog {
				cancel()
			}
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	runs, err := s.r.ListRuns(t.Context(), exec.RunFilter{Labels: map[string]string{exec.LabelSession: run}})
	if err != nil || len(runs) != 1 || runs[0].Status != exec.RunCancelled {
		t.Errorf("%v %+v", err, runs)
	}
}
