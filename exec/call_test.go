package exec

import (
	"context"
	"errors"
	"os"
	osexec "os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/exec/function"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/warehouse"
)

var functionProbe = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	build := osexec.Command("go", "build", "-o", dir+"/probe", "./function/testdata/probe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, errors.New(string(out))
	}
	return os.ReadFile(dir + "/probe")
})

// call adds a call of the function probe in one of its kinds.
func (f *fixture) call(name, kind, input string) *formula.Step {
	f.Helper()
	if _, ok := f.wares["ware.function"]; !ok {
		program, err := functionProbe()
		if err != nil {
			f.Fatal(err)
		}
		f.ware("function", map[string]string{"probe": string(program)})
	}
	fn := &formula.Function{
		Addr: "function.f", Exec: []string{"/probe", kind}, Cwd: "/", User: "0:0",
		Inputs: []formula.Input{{Port: "/", From: formula.Ref{Ware: "ware.function"}, Mode: formula.Overlay}},
	}
	s, err := fn.Call("call."+name, []byte(input))
	if err != nil {
		f.Fatal(err)
	}
	f.formula.Steps = append(f.formula.Steps, s)
	return s
}

func TestCall(t *testing.T) {
	f := newFixture(t)
	f.call("mean", "mean", `{"values": [1, 2, 6]}`)
	s := f.step("use", "cat:/mean.json")
	s.Inputs = append(s.Inputs, formula.Input{Port: "/mean.json", From: formula.Ref{Step: "call.mean", Output: formula.CallOutput}, Mode: formula.ReadOnly})
	result := f.must()
	if got := f.read(result.Steps["call.mean"][formula.CallOutput], ""); got != `{"count":3,"mean":3}`+"\n" {
		t.Errorf("output %q", got)
	}
	if !strings.Contains(f.log("use"), `{"count":3,"mean":3}`) {
		t.Errorf("the step found %q", f.log("use"))
	}
	if logs := strings.Join(f.logs["call.mean"], "\n"); !strings.Contains(logs, "a line that a library prints") {
		t.Errorf("log %q", logs)
	}
	if again := f.must(); again.Ran != 0 || again.Remembered != 2 {
		t.Errorf("once more: %d ran", again.Ran)
	}
	f.options.Force = true
	key, err := f.plan().ResolveStep(f.plan().Steps[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	f.options.Earlier = map[warehouse.StepKey]map[string]warehouse.WareID{key.Key: result.Steps["call.mean"]}
	if last := f.must(); last.Ran != 1 || strings.Contains(strings.Join(f.events, " "), "call.mean") {
		t.Errorf("what ended earlier: %d ran, %v", last.Ran, f.events)
	}
}

func TestCallsThatFail(t *testing.T) {
	f := newFixture(t)
	s := f.call("c", "fail", "1")
	if e := f.fails(FailedCall); !errors.Is(e, function.ErrFunction) || e.What() != "no such thing (missing)" {
		t.Error(e)
	}
	s.Action.Exec = []string{"/probe", "log"}
	if e := f.fails(FailedCall); !errors.Is(e, function.ErrProtocol) {
		t.Error(e)
	}
	s.Action.Exec = []string{"/nothing"}
	if e := f.fails(FailedCall); !strings.Contains(e.Error(), "/nothing: ") {
		t.Error(e)
	}
	s.Action.Exec, s.Timeout = []string{"/probe", "sleep"}, 300*time.Millisecond
	if e := f.fails(FailedTimeout); !errors.Is(e, function.ErrTimeout) {
		t.Error(e)
	}
	s.Action.Exec, s.Timeout, s.Action.Call.SchemaOut = []string{"/probe", "echo"}, 0, []byte(`{"type":"string"}`)
	if e := f.fails(FailedCall); !errors.Is(e, function.ErrOutputInvalid) {
		t.Error(e)
	}
}

func TestCallCancelled(t *testing.T) {
	f := newFixture(t)
	ctx, cancel := context.WithCancel(f.ctx)
	f.ctx = ctx
	f.call("c", "sleep", "1")
	f.step("other", "say:x").DependsOn = []string{"call.c"}
	observe := f.options.Observe
	f.options.Observe = func(e Event) {
		observe(e)
		if e.Kind == StepLog && strings.Contains(string(e.Line), "asleep") {
			cancel()
		}
	}
	f.deadline(time.Minute)
	result, err := f.run()
	if !errors.Is(err, context.Canceled) || result.Skipped != 2 || result.Ran != 0 {
		t.Errorf("%v, %+v, %v", err, result, f.events)
	}
	f.clean()
}
