package rootless_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/registry"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/internal/embedded"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
)

// The name under which steps of these tests find the runner: as "container" they would
// run in containers of the plan's own.
const elsewhere = "elsewhere"

// planOf is a plan of two steps, of which the second takes what the first makes.
func planOf(t testing.TB, first string) *plan.Plan {
	id, err := embedded.ToolboxID()
	if err != nil {
		t.Skip(err)
	}
	root := formula.Input{Port: "/", From: formula.Ref{Ware: "ware.base"}, Mode: formula.Overlay}
	step := func(name, script string, inputs ...formula.Input) *formula.Step {
		return &formula.Step{
			Addr: "step." + name, Cwd: "/", User: "0:0", Inputs: append([]formula.Input{root}, inputs...),
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
	p, err := plan.New(f, map[string]warehouse.WareID{"ware.base": id})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// options runs steps on the runner in dir.
func options(dir string, observe func(exec.Event)) (exec.Options, error) {
	wares, err := warehouse.OpenLocal(filepath.Join(dir, "warehouse"))
	if err != nil {
		return exec.Options{}, err
	}
	memos, err := warehouse.OpenMemos(filepath.Join(dir, "memo"))
	if err != nil {
		return exec.Options{}, err
	}
	if err := embedded.PutToolbox(context.Background(), wares); err != nil {
		return exec.Options{}, err
	}
	g := registry.Open(filepath.Join(dir, "runs"))
	session, _, err := g.Session()
	return exec.Options{
		Warehouse: wares, Memos: memos, Binaries: binaries, Observe: observe,
		Runners: exec.Runners{
			All: elsewhere, Session: session, Alive: g.SessionAlive,
			Open: func(string) (exec.Runner, error) { return connect(dir) },
		},
	}, err
}

func runPlan(t *testing.T, ctx context.Context, dir, first string, change func(*exec.Options)) (exec.Result, []string, error) {
	t.Helper()
	var story []string
	o, err := options(dir, func(e exec.Event) {
		switch e.Kind {
		case exec.StepLog:
			story = append(story, e.Step.Addr+": "+string(e.Line))
		case exec.StepRemembered:
			story = append(story, e.Step.Addr+" remembered")
		case exec.StepDone:
			story = append(story, e.Step.Addr+" done")
		}
	})
	if errors.Is(err, embedded.ErrNotBuilt) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	defer o.Warehouse.Close()
	if change != nil {
		change(&o)
	}
	result, err := exec.RunPlan(ctx, planOf(t, first), o)
	return result, story, err
}

func runsIn(t *testing.T, dir string) []exec.Run {
	t.Helper()
	runs, err := registry.Open(filepath.Join(dir, "runs")).List("", exec.RunFilter{})
	if err != nil {
		t.Fatal(err)
	}
	return runs
}

func TestStepsMakeTheSameEverywhere(t *testing.T) {
	dir := t.TempDir()
	const first = "mkdir /out; echo one >/out/a; echo log"
	away, story, err := runPlan(t, t.Context(), dir, first, nil)
	if err != nil {
		t.Fatalf("%v %v", err, away.Failed)
	}
	if got := strings.Join(story, "\n"); got != "step.first: log\nstep.first done\nstep.second: second\nstep.second done" {
		t.Errorf("%s", got)
	}
	// What one runner remembers serves the others.
	here, story, err := runPlan(t, t.Context(), dir, first, func(o *exec.Options) { o.Runners.All = exec.OwnContainers })
	if err != nil || here.Remembered != 2 {
		t.Errorf("%v, %d remembered: %v", err, here.Remembered, story)
	}
	here, _, err = runPlan(t, t.Context(), dir, first, func(o *exec.Options) { o.Runners.All, o.Force = exec.OwnContainers, true })
	if err != nil || here.Ran != 2 || here.Steps["step.second"]["out"] != away.Steps["step.second"]["out"] || here.Steps["step.first"]["out"] != away.Steps["step.first"]["out"] {
		t.Errorf("%v\nhere %v\naway %v", err, here.Steps, away.Steps)
	}
	if runs := runsIn(t, dir); len(runs) != 2 || runs[0].Name != "step.first" || runs[0].Spec.Labels[exec.LabelStepKey] == "" {
		t.Errorf("%+v", runs)
	}
}

func TestStepFailsElsewhere(t *testing.T) {
	result, _, err := runPlan(t, t.Context(), t.TempDir(), "echo no >&2; exit 4", nil)
	if !errors.Is(err, exec.ErrFailed) || len(result.Failed) != 1 || result.Skipped != 1 {
		t.Fatalf("%v %+v", err, result)
	}
	if e := result.Failed[0]; e.Failure != exec.FailedExit || e.ExitCode != 4 || e.Entry != 1 || strings.Join(e.Tail, "") != "no" {
		t.Errorf("%+v", e)
	}
	result, _, _ = runPlan(t, t.Context(), t.TempDir(), "true", nil)
	if e := result.Failed[0]; e.Failure != exec.FailedOutput || !strings.Contains(e.What(), "/out") {
		t.Errorf("%+v", e)
	}
}

func TestCancelledRunLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := runPlan(t, ctx, dir, "echo runs; sleep 100", func(o *exec.Options) {
		o.Observe = func(e exec.Event) {
			if e.Kind == exec.StepLog {
				cancel()
			}
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if runs := runsIn(t, dir); len(runs) != 1 || runs[0].Status != exec.RunCancelled {
		t.Errorf("%+v", runs)
	}
}

const slow = "mkdir /out; echo begun; sleep 2; echo one >/out/a"

// TestHelperPlan is no test: it is the kiln that TestKilledKilnIsResumed kills.
func TestHelperPlan(t *testing.T) {
	dir := os.Getenv("KILN_TEST_PLAN")
	if dir == "" {
		t.Skip("a helper of TestKilledKilnIsResumed")
	}
	o, err := options(dir, func(e exec.Event) {
		if e.Kind == exec.StepLog {
			fmt.Println("log:", string(e.Line))
		}
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	exec.RunPlan(context.Background(), planOf(t, slow), o)
	os.Exit(0)
}

func TestKilledKilnIsResumed(t *testing.T) {
	if _, err := embedded.ToolboxID(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	cmd := osexec.Command(os.Args[0], "-test.run=^TestHelperPlan$")
	cmd.Env = append(os.Environ(), "KILN_TEST_PLAN="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	cmd.Process.Kill()
	cmd.Wait()
	if line != "log: begun\n" {
		t.Fatalf("the kiln to be killed said %q", line)
	}
	result, story, err := runPlan(t, t.Context(), dir, slow, nil)
	if err != nil || result.Ran != 2 {
		t.Fatalf("%v %+v", err, result)
	}
	if got := strings.Join(story, "\n"); !strings.HasPrefix(got, "step.first: begun\nstep.first done") {
		t.Errorf("%s", got)
	}
	if runs := runsIn(t, dir); len(runs) != 2 {
		t.Errorf("%d runs of two steps", len(runs))
	}
	// One that ended while nobody looked is not done again either.
	if err := os.RemoveAll(filepath.Join(dir, "memo")); err != nil {
		t.Fatal(err)
	}
	if result, _, err = runPlan(t, t.Context(), dir, slow, nil); err != nil || result.Ran != 2 || len(runsIn(t, dir)) != 2 {
		t.Errorf("%v %+v, %d runs", err, result, len(runsIn(t, dir)))
	}
}
