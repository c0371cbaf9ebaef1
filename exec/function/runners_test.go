package function

import (
	"context"
	"errors"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/exec/function/runners"
	"github.com/kilnbuild/kiln/warehouse"
)

// interpreter makes a ware of an interpreter that is installed on this machine.
func (f *fixture) interpreter(program string, paths ...string) warehouse.WareID {
	f.Helper()
	if _, err := os.Stat(program); err != nil {
		f.Skipf("needs %s: %v", program, err)
	}
	dir := filepath.Join(f.TempDir(), "root")
	args := append([]string{"../../examples/functions/interpreter.sh", dir, program}, paths...)
	if out, err := osexec.Command("sh", args...).CombinedOutput(); err != nil {
		f.Fatalf("%v: %s", err, out)
	}
	return f.ware(dir)
}

// A language is one in which functions are written, with testdata/modules/stats.
type language struct {
	name, runner string
	command      []string
	root         func(*fixture) warehouse.WareID
}

var languages = []language{
	{"python", runners.Python, []string{"/usr/bin/python3", "/kiln/runner", "/module/stats.py"}, func(f *fixture) warehouse.WareID {
		lib, err := osexec.Command("/usr/bin/python3", "-c", `import sysconfig; print(sysconfig.get_path("stdlib"))`).Output()
		if err != nil {
			f.Skipf("needs python3: %v", err)
		}
		return f.interpreter("/usr/bin/python3", strings.TrimSpace(string(lib)))
	}},
	{"node", runners.Node, []string{"/usr/bin/node", "/kiln/runner.mjs", "/module/stats.mjs"}, func(f *fixture) warehouse.WareID {
		var more []string
		if _, err := os.Stat("/usr/share/nodejs"); err == nil { // where Debian keeps parts of Node
			more = append(more, "/usr/share/nodejs")
		}
		return f.interpreter("/usr/bin/node", more...)
	}},
}

func TestRunners(t *testing.T) {
	for _, l := range languages {
		t.Run(l.name, func(t *testing.T) {
			f := newFixture(t)
			f.root = l.root(f)
			runner := filepath.Join(t.TempDir(), "runner")
			if err := os.WriteFile(runner, []byte(l.runner), 0o644); err != nil {
				t.Fatal(err)
			}
			f.testRunner(l, Dir("/module", "testdata/modules"), Dir(l.command[1], runner))
		})
	}
}

func (f *fixture) testRunner(l language, mounts ...Option) {
	schemas := []Option{SchemaIn(`{"type": "object", "properties": {"values": {"items": {"type": "number"}}}}`), SchemaOut(summarySchema)}
	open := func(options ...Option) *ContainerFunc[map[string]any, any] {
		options = append(append([]Option{In(f.box), Root(f.root), Logs(f.logged), Timeout(patient)}, mounts...), options...)
		c, err := Container[map[string]any, any](l.command, options...)
		if err != nil {
			f.Fatal(err)
		}
		f.Cleanup(c.Close)
		return c
	}
	cold, warm, reused := open(schemas...), open(append(schemas, Warm(1))...), open(append(schemas, Reuse(100))...)
	ctx := context.Background()
	for _, c := range []*ContainerFunc[map[string]any, any]{cold, warm, reused} {
		for range 2 {
			got, err := c.Execute(ctx, map[string]any{"values": []float64{1, 2, 6}})
			if m, ok := got.(map[string]any); err != nil || !ok || fmtNumber(m["mean"]) != "3" || fmtNumber(m["count"]) != "3" {
				f.Fatalf("%v, %v; logs %s; notes %q", got, err, f.logs(), c.Notes())
			}
		}
	}
	if !strings.Contains(f.logs(), "computing mean") {
		f.Errorf("what it prints is not in the log: %q", f.logs())
	}
	var own *FunctionError
	if _, err := reused.Execute(ctx, map[string]any{"kind": "x"}); !errors.As(err, &own) || own.Code != "unknown_kind" || string(own.Details) != `{"kind":"x"}` || own.Message != "no such kind: x" {
		f.Errorf("its own error: %v", err)
	}
	var invalid *InvalidError
	if _, err := reused.Execute(ctx, map[string]any{"kind": "wrong"}); !errors.As(err, &invalid) || invalid.Side != Output || len(invalid.Violations) != 1 || invalid.Violations[0].Pointer != "/mean" {
		f.Errorf("output that breaks its schema: %v", err)
	}
	plain := open(Reuse(100))
	value := map[string]any{"text": "日本\u2028\n\"\\", "list": []any{nil, true, false, "x"}, "o": map[string]any{}}
	if got, err := plain.Execute(ctx, map[string]any{"kind": "echo", "value": value}); err != nil || !equalJSON(got, value) {
		f.Errorf("echo: %v, %v", got, err)
	}
	if _, err := plain.Execute(ctx, map[string]any{"kind": "nan"}); !errors.Is(err, ErrOutputInvalid) {
		f.Errorf("NaN: %v", err)
	}
	if _, err := plain.Execute(ctx, map[string]any{"kind": "echo", "value": jsonNumber("1e400")}); !errors.Is(err, ErrInputInvalid) {
		f.Errorf("1e400: %v", err)
	}
	if _, err := open(Timeout(2*time.Second)).Execute(ctx, map[string]any{"kind": "sleep"}); !errors.Is(err, ErrTimeout) {
		f.Errorf("sleep: %v", err)
	}
	if _, err := open().Execute(ctx, map[string]any{"kind": "eat"}); !errors.Is(err, ErrMemory) {
		f.Errorf("eat: %v", err)
	}
}
