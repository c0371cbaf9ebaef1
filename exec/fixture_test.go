package exec

import (
	"context"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/internal/embedded"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
)

// binaries are the real executor and kiln-enter, as the Makefile built them.
func binaries(t testing.TB) func() (container.Binaries, error) {
	t.Helper()
	executor, err1 := embedded.Executor()
	enter, err2 := embedded.Enter()
	if err := errors.Join(err1, err2); err != nil {
		if os.Getenv("KILN_TEST_REAL") != "" {
			t.Fatal(err)
		}
		t.Skipf("needs real containers: %v", err)
	}
	return func() (container.Binaries, error) { return container.Binaries{Executor: executor, Enter: enter}, nil }
}

var probe = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	build := osexec.Command("go", "build", "-o", dir+"/probe", "./testdata/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build probe: %w: %s", err, out)
	}
	return os.ReadFile(dir + "/probe")
})

// A fixture is a warehouse, a formula in the making, and what its run said.
type fixture struct {
	testing.TB
	dir     string
	local   *warehouse.Local
	memos   *warehouse.Memos
	formula *formula.Formula
	wares   map[string]warehouse.WareID
	options Options
	ctx     context.Context

	events []string // "kind step"
	logs   map[string][]string
}

// newFixture returns one with a ware "base" that holds the probe.
func newFixture(t testing.TB) *fixture {
	t.Helper()
	f := &fixture{TB: t, dir: t.TempDir(), wares: map[string]warehouse.WareID{}, formula: &formula.Formula{}, ctx: context.Background(), logs: map[string][]string{}}
	var err error
	if f.local, err = warehouse.OpenLocal(filepath.Join(f.dir, "warehouse")); err != nil {
		t.Fatal(err)
	}
	if f.memos, err = warehouse.OpenMemos(filepath.Join(f.dir, "memo")); err != nil {
		t.Fatal(err)
	}
	f.options = Options{Warehouse: f.local, Memos: f.memos, Binaries: binaries(t), Observe: f.observe, Version: "test"}
	program, err := probe()
	if err != nil {
		t.Fatal(err)
	}
	f.ware("base", map[string]string{"probe": string(program)})
	return f
}

// ware puts files into the warehouse as one ware; a name ending in "/" is a
// directory, the name "." makes a ware of one file.
func (f *fixture) ware(name string, files map[string]string) warehouse.WareID {
	f.Helper()
	dir := f.TempDir()
	path := dir
	for file, text := range files {
		at := filepath.Join(dir, file)
		if file == "." {
			at = filepath.Join(dir, "single")
			path = at
		}
		os.MkdirAll(filepath.Dir(at), 0o755)
		if strings.HasSuffix(file, "/") {
			os.MkdirAll(at, 0o755)
			continue
		}
		if err := os.WriteFile(at, []byte(text), 0o755); err != nil {
			f.Fatal(err)
		}
	}
	rec, err := pack.Ingest(context.Background(), f.local, path, pack.Options{})
	if err != nil {
		f.Fatal(err)
	}
	addr := "ware." + name
	f.wares[addr] = rec.ID
	f.formula.Wares = append(f.formula.Wares, &formula.Ware{Addr: addr})
	return rec.ID
}

// step adds a step that runs the probe with args on the ware "base".
func (f *fixture) step(name string, args ...string) *formula.Step {
	s := &formula.Step{
		Addr: "step." + name, Cwd: "/", User: "0:0",
		Inputs: []formula.Input{{Port: "/", From: formula.Ref{Ware: "ware.base"}, Mode: formula.Overlay}},
		Action: formula.Action{Exec: append([]string{"/probe"}, args...)},
	}
	f.formula.Steps = append(f.formula.Steps, s)
	return s
}

// input mounts "ware.NAME" or "step.NAME.OUTPUT" at port.
func input(s *formula.Step, port, from string, mode formula.Mode) {
	ref := formula.Ref{Ware: from}
	if step, ok := strings.CutPrefix(from, "step."); ok {
		name, output, _ := strings.Cut(step, ".")
		ref = formula.Ref{Step: "step." + name, Output: output}
	}
	s.Inputs = append(s.Inputs, formula.Input{Port: port, From: ref, Mode: mode})
}

func output(s *formula.Step, name, path string) {
	s.Outputs = append(s.Outputs, formula.StepOutput{Name: name, Path: path, Packtype: "tree"})
}

func (f *fixture) observe(e Event) {
	kind := map[EventKind]string{StepRemembered: "remembered", StepStarted: "started", StepLog: "log", StepPacking: "packing", StepDone: "done", StepFailed: "failed", StepSkipped: "skipped", StepForgotten: "forgotten"}[e.Kind]
	if e.Kind == StepLog {
		if n := len(f.logs[e.Step.Addr]); n < 1000 {
			f.logs[e.Step.Addr] = append(f.logs[e.Step.Addr], string(e.Line))
		}
		return
	}
	f.events = append(f.events, kind+" "+e.Step.Addr)
}

func (f *fixture) plan() *plan.Plan {
	f.Helper()
	p, err := plan.New(f.formula, f.wares)
	if err != nil {
		f.Fatal(err)
	}
	return p
}

func (f *fixture) run() (Result, error) {
	f.Helper()
	f.events, f.logs = nil, map[string][]string{}
	return RunPlan(f.ctx, f.plan(), f.options)
}

// must runs and expects every step to end well.
func (f *fixture) must() Result {
	f.Helper()
	result, err := f.run()
	if err != nil {
		f.Fatalf("run: %v; failed: %v; logs: %v", err, result.Failed, f.logs)
	}
	f.clean()
	return result
}

// fails runs and expects the one step that fails to fail in this way.
func (f *fixture) fails(want Failure) *StepError {
	f.Helper()
	result, err := f.run()
	if !errors.Is(err, ErrFailed) || len(result.Failed) != 1 {
		f.Fatalf("run: %v; failed: %v; logs: %v; want one failed step", err, result.Failed, f.logs)
	}
	if got := result.Failed[0]; got.Failure != want {
		f.Fatalf("failure %d (%v), want %d; logs %v", got.Failure, got, want, f.logs)
	}
	f.clean()
	return result.Failed[0]
}

// clean checks that the run left nothing in the work directory.
func (f *fixture) clean() {
	f.Helper()
	left, err := os.ReadDir(f.local.WorkDir())
	if err != nil || len(left) > 0 {
		f.Errorf("work directory holds %v (%v)", left, err)
	}
}

// read returns a file of a ware.
func (f *fixture) read(id warehouse.WareID, path string) string {
	f.Helper()
	rec, err := f.local.Get(id)
	if err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(f.local.Fileset(rec), path))
	if err != nil {
		f.Fatal(err)
	}
	return string(b)
}

func (f *fixture) log(step string) string { return strings.Join(f.logs["step."+step], "\n") }

// deadline bounds a test whose failure would be to hang.
func (f *fixture) deadline(d time.Duration) {
	ctx, cancel := context.WithTimeout(f.ctx, d)
	f.ctx = ctx
	f.Cleanup(cancel)
}
