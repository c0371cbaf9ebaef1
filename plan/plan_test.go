package plan

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/warehouse"
)

var idA = warehouse.WareID{Packtype: "tree", Hash: "aaaa-1"}

// step makes a script step that runs in ware.base with one output, "out".
func step(addr string, inputs ...formula.Input) *formula.Step {
	return &formula.Step{
		Addr:    addr,
		Inputs:  append([]formula.Input{{Port: "/", From: formula.Ref{Ware: "ware.base"}}}, inputs...),
		Action:  formula.Action{Script: []string{"true"}, Interpreter: []string{"/bin/sh"}},
		Outputs: []formula.StepOutput{{Name: "out", Path: "/out", Packtype: "tree"}},
		Cwd:     "/", User: "0:0",
	}
}

func from(port, stepAddr string) formula.Input {
	return formula.Input{Port: port, From: formula.Ref{Step: stepAddr, Output: "out"}, Mode: formula.ReadOnly}
}

func mustNew(t testing.TB, steps ...*formula.Step) *Plan {
	t.Helper()
	p, err := New(&formula.Formula{Steps: steps}, map[string]warehouse.WareID{"ware.base": idA})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func addrs(steps []*Step) string {
	var names []string
	for _, s := range steps {
		names = append(names, s.Addr)
	}
	return strings.Join(names, " ")
}

// diamond is a, then b["1"] and b["2"] of a, then c of both b, and d after every b.
func diamond(t testing.TB) *Plan {
	d := step("step.d")
	d.DependsOn = []string{"step.b"}
	b1, b2 := step(`step.b["1"]`, from("/a", "step.a")), step(`step.b["2"]`, from("/a", "step.a"))
	b1.Cwd, b2.Cwd = "/1", "/2"
	return mustNew(t, step("step.a"), b1, b2,
		step("step.c", from("/y", `step.b["2"]`), from("/x", `step.b["1"]`), from("/z", `step.b["1"]`)), d)
}

func TestGraph(t *testing.T) {
	p := diamond(t)
	for _, tt := range []struct {
		addr         string
		deps, needed []int
	}{
		{"step.a", nil, []int{1, 2}},
		{`step.b["1"]`, []int{0}, []int{3, 4}},
		{"step.c", []int{1, 2}, nil},
		{"step.d", []int{1, 2}, nil},
	} {
		s := p.ByAddr[tt.addr]
		if !slices.Equal(s.Deps, tt.deps) || !slices.Equal(s.Needed, tt.needed) {
			t.Errorf("%s: deps %v, needed %v; want %v, %v", tt.addr, s.Deps, s.Needed, tt.deps, tt.needed)
		}
	}
}

func TestNewRefusesBrokenFormulas(t *testing.T) {
	for name, steps := range map[string][]*formula.Step{
		"no earlier step step.a": {step("step.b", from("/a", "step.a")), step("step.a")},
		"declared twice":         {step("step.a"), step("step.a")},
		"no ware ware.none":      {step("step.a", formula.Input{Port: "/n", From: formula.Ref{Ware: "ware.none"}})},
	} {
		_, err := New(&formula.Formula{Steps: steps}, map[string]warehouse.WareID{"ware.base": idA})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("got error %v, want one with %q", err, name)
		}
	}
}

func TestSelect(t *testing.T) {
	p := diamond(t)
	for _, tt := range []struct{ targets, want string }{
		{"", `step.a step.b["1"] step.b["2"] step.c step.d`},
		{"step.a", "step.a"},
		{"a", "step.a"},
		{`step.b["2"]`, `step.a step.b["2"]`},
		{"step.b", `step.a step.b["1"] step.b["2"]`},
		{"step.d step.a", `step.a step.b["1"] step.b["2"] step.d`},
	} {
		got, err := p.Select(strings.Fields(tt.targets))
		if err != nil || addrs(got) != tt.want {
			t.Errorf("Select(%s) = %s, %v; want %s", tt.targets, addrs(got), err, tt.want)
		}
	}
	_, err := p.Select([]string{"step.e", "quite-another"})
	if err == nil || !strings.Contains(err.Error(), "step.e in this formula, did you mean step.") ||
		!strings.HasSuffix(err.Error(), "no step quite-another in this formula") {
		t.Errorf("unknown targets: %v", err)
	}
}

func TestGroup(t *testing.T) {
	for addr, want := range map[string]string{
		"step.a":                            "step.a",
		`step.a["x"]`:                       "step.a",
		`step.a["x[1]"]`:                    "step.a",
		`module.m["k"].step.a`:              `module.m["k"].step.a`,
		`module.m["step.q[0]"].step.a["1"]`: `module.m["step.q[0]"].step.a`,
		`step.a["step.b"]`:                  "step.a",
		`step.a["step.b[1]"]`:               "step.a",
	} {
		if got := group(addr); got != want {
			t.Errorf("group(%s) = %s, want %s", addr, got, want)
		}
	}
}

func TestResolveStep(t *testing.T) {
	p := diamond(t)
	made := warehouse.WareID{Packtype: "tree", Hash: "bbbb-2"}
	if _, err := p.ResolveStep(p.ByAddr["step.c"], nil); err == nil || !strings.Contains(err.Error(), "has not made out") {
		t.Errorf("unknown output: %v", err)
	}
	r, err := p.ResolveStep(p.ByAddr["step.c"], func(s *Step, output string) (warehouse.WareID, bool) {
		return made, output == "out"
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []ResolvedInput{
		{Port: "/", Ware: idA, Mode: "overlay"}, {Port: "/x", Ware: made, Mode: "ro"},
		{Port: "/y", Ware: made, Mode: "ro"}, {Port: "/z", Ware: made, Mode: "ro"},
	}
	if !slices.Equal(r.Inputs, want) {
		t.Errorf("inputs %v, want %v", r.Inputs, want)
	}
}

// TestStepKey holds what changes a key against what does not.
func TestStepKey(t *testing.T) {
	base := func() *formula.Step {
		s := step("step.a")
		s.Env = []formula.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: ""}}
		return s
	}
	key := func(change func(*formula.Step)) warehouse.StepKey {
		s := base()
		change(s)
		r, err := mustNew(t, s).ResolveStep(mustNew(t, s).Steps[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		return r.Key
	}
	plain := key(func(*formula.Step) {})
	same := map[string]func(*formula.Step){
		"address":   func(s *formula.Step) { s.Addr = "step.other" },
		"timeout":   func(s *formula.Step) { s.Timeout = time.Minute },
		"range":     func(s *formula.Step) { s.Range.Start.Line = 7 },
		"env order": func(s *formula.Step) { slices.Reverse(s.Env) },
		"root mode": func(s *formula.Step) { s.Inputs[0].Mode = formula.ReadOnly },
		"runner":    func(s *formula.Step) { s.Runner = "docker" },
		"limits":    func(s *formula.Step) { s.Resources.Limits.CPUs = 1 },
		"sensitive": func(s *formula.Step) { s.Sensitive = true },
	}
	for name, change := range same {
		if key(change) != plain {
			t.Errorf("%s changes the key", name)
		}
	}
	different := map[string]func(*formula.Step){
		"port":        func(s *formula.Step) { s.Inputs[0].Port = "/r" },
		"more input":  func(s *formula.Step) { s.Inputs = append(s.Inputs, formula.Input{Port: "/x", From: s.Inputs[0].From}) },
		"env value":   func(s *formula.Step) { s.Env[0].Value = "2" },
		"env moved":   func(s *formula.Step) { s.Env = []formula.EnvVar{{Name: "A", Value: ""}, {Name: "B", Value: "1"}} },
		"env joined":  func(s *formula.Step) { s.Env = []formula.EnvVar{{Name: "A", Value: "1B"}} },
		"entry":       func(s *formula.Step) { s.Action.Script[0] = "false" },
		"entry split": func(s *formula.Step) { s.Action.Script = []string{"tr", "ue"} },
		"interpreter": func(s *formula.Step) { s.Action.Interpreter = []string{"/bin/sh", "-x"} },
		"exec":        func(s *formula.Step) { s.Action = formula.Action{Exec: []string{"true"}} },
		"output name": func(s *formula.Step) { s.Outputs[0].Name = "o" },
		"output path": func(s *formula.Step) { s.Outputs[0].Path = "/o" },
		"packtype":    func(s *formula.Step) { s.Outputs[0].Packtype = "tar" },
		"filters":     func(s *formula.Step) { s.Outputs[0].Filters = "mtime=keep" },
		"no output":   func(s *formula.Step) { s.Outputs = nil },
		"cwd":         func(s *formula.Step) { s.Cwd = "/w" },
		"user":        func(s *formula.Step) { s.User = "1:1" },
	}
	seen := map[warehouse.StepKey]string{plain: "nothing"}
	for _, name := range slices.Sorted(maps.Keys(different)) {
		k := key(different[name])
		if other, ok := seen[k]; ok {
			t.Errorf("changing %s gives the key of changing %s", name, other)
		}
		seen[k] = name
	}
}

// TestStepKeyVector is the vector of docs/formats.md, section 9.
func TestStepKeyVector(t *testing.T) {
	s := step("step.vector", formula.Input{Port: "/src", From: formula.Ref{Ware: "ware.base"}, Mode: formula.ReadOnly})
	s.Env = []formula.EnvVar{{Name: "JOBS", Value: "2"}}
	s.Action.Script = []string{"cd /src", "make"}
	p := mustNew(t, s)
	r, err := p.ResolveStep(p.Steps[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	const want = "abd621bdbf6a1d71c84c9730924795c64c2d5f90e04f982794c208af95b06efc"
	if r.Key != want {
		t.Errorf("key %s, want %s", r.Key, want)
	}
}

// tenThousand is what one for_each over 10,000 keys makes.
func tenThousand(t testing.TB) *Plan {
	steps := make([]*formula.Step, 10000)
	for i := range steps {
		steps[i] = step(fmt.Sprintf("step.each[%q]", fmt.Sprint(i)))
		steps[i].Env = []formula.EnvVar{{Name: "KEY", Value: fmt.Sprint(i)}}
		steps[i].Action.Script = []string{"set -e", fmt.Sprintf("echo %d > /out/file", i), "sha256sum /out/file > /out/sum"}
	}
	return mustNew(t, steps...)
}

func BenchmarkStepKeys10000(b *testing.B) {
	p := tenThousand(b)
	b.ReportAllocs()
	for b.Loop() {
		for _, s := range p.Steps {
			if _, err := p.ResolveStep(s, nil); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func BenchmarkGraph10000(b *testing.B) {
	f := tenThousand(b).Formula
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(f, map[string]warehouse.WareID{"ware.base": idA}); err != nil {
			b.Fatal(err)
		}
	}
}
