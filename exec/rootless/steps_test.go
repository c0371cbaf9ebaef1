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
	"github.com/kilnbuild/kiln/exec/exectest"
	"github.com/kilnbuild/kiln/exec/registry"
	"github.com/kilnbuild/kiln/internal/embedded"
	"github.com/kilnbuild/kiln/warehouse"
)

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
			All: exectest.Elsewhere, Session: session, Alive: g.SessionAlive,
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
	result, err := exec.RunPlan(ctx, exectest.StepsPlan(t, toolbox(), first), o)
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

func TestSteps(t *testing.T) {
	dir := t.TempDir()
	o, err := options(dir, nil)
	if errors.Is(err, embedded.ErrNotBuilt) {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	defer o.Warehouse.Close()
	e := exectest.Environment{Connect: connect, Dir: dir, Base: exec.JobSpec{Root: toolbox()}, Can: exectest.Capabilities{Offline: exec.OfflineEnforced}}
	exectest.RunSteps(t, e, o)
}

func toolbox() warehouse.WareID {
	id, _ := embedded.ToolboxID()
	return id
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
	exec.RunPlan(context.Background(), exectest.StepsPlan(t, toolbox(), slow), o)
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
