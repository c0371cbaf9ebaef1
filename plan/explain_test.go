package plan

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/warehouse"
)

// world is a warehouse and memos in directories of their own, and a history.
type world struct {
	ExplainOptions
	t   testing.TB
	dir string
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir()}
	var err error
	if w.Warehouse, err = warehouse.OpenLocal(filepath.Join(w.dir, "warehouse")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Warehouse.Close() })
	if w.Memos, err = warehouse.OpenMemos(filepath.Join(w.dir, "memo")); err != nil {
		t.Fatal(err)
	}
	return w
}

// run stands in for package exec: each step whose key is known and has no memo makes
// a ware that depends on its key alone, and the history is saved.
func (w *world) run(p *Plan) {
	w.t.Helper()
	made := map[string]map[string]warehouse.WareID{}
	for _, s := range p.Steps {
		r, err := p.ResolveStep(s, MadeBy(made))
		if err != nil {
			w.t.Fatal(err)
		}
		made[s.Addr] = map[string]warehouse.WareID{}
		for _, o := range s.Outputs {
			made[s.Addr][o.Name] = w.commit(string(r.Key) + o.Name)
		}
		if err := w.Memos.Put(warehouse.Memo{Key: r.Key, Step: s.Addr, Outputs: made[s.Addr]}); err != nil {
			w.t.Fatal(err)
		}
	}
	if _, err := p.OpenHistory(w.dir).Save(p, w.Memos, MadeBy(made), func(*Step) bool { return true }); err != nil {
		w.t.Fatal(err)
	}
}

// commit puts an empty fileset into the warehouse, under an id made from name.
func (w *world) commit(name string) warehouse.WareID {
	w.t.Helper()
	id := warehouse.WareID{Packtype: "tree", Hash: hexSum(name) + "-1"}
	staged, err := w.Warehouse.Stage("test")
	if err == nil {
		err = w.Warehouse.Commit(staged, warehouse.Record{ID: id, Tree: id})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// forget removes every memo.
func (w *world) forget() {
	w.t.Helper()
	dirs, _ := filepath.Glob(filepath.Join(w.dir, "memo", "*"))
	for _, dir := range dirs {
		if err := os.RemoveAll(dir); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *world) explain(p *Plan, targets ...string) []Explanation {
	w.t.Helper()
	steps, err := p.Select(targets)
	if err != nil {
		w.t.Fatal(err)
	}
	o := w.ExplainOptions
	o.History = p.OpenHistory(w.dir)
	got, err := p.Explain(w.t.Context(), steps, o)
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

// lines is one line for each explanation: address, state, reasons.
func lines(explanations []Explanation) string {
	var b strings.Builder
	for _, e := range explanations {
		fmt.Fprintf(&b, "%s %s", e.Step.Addr, e.State)
		for _, r := range e.Reasons {
			fmt.Fprintf(&b, "; %s", r.Text)
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestExplain(t *testing.T) {
	w := newWorld(t)
	if got, want := lines(w.explain(diamond(t))), `step.a run; first time here
step.b["1"] wait; waits for what step.a makes
step.b["2"] wait; waits for what step.a makes
step.c wait; waits for what step.b["1"] makes; waits for what step.b["2"] makes
step.d run; first time here
`; got != want {
		t.Errorf("before the first run:\n%swant\n%s", got, want)
	}
	w.run(diamond(t))
	after := w.explain(diamond(t))
	for _, e := range after {
		if e.State != StateRemembered || e.Memo == nil || e.Resolved.Key != e.Memo.Key || e.Reasons != nil {
			t.Errorf("after the run: %s %s %v", e.Step.Addr, e.State, e.Reasons)
		}
	}
	w.Force = true
	if got := lines(w.explain(diamond(t), "a")); got != "step.a run; forced\n" {
		t.Errorf("forced: %s", got)
	}
	w.Force = false
	gone := after[1].Memo.Outputs["out"]
	if err := w.Warehouse.Remove(gone); err != nil {
		t.Fatal(err)
	}
	if got, want := lines(w.explain(diamond(t))), `step.a remembered
step.b["1"] run; its output out, `+Short(gone)+`, is gone from the warehouse
step.b["2"] remembered
step.c wait; waits for what step.b["1"] makes
step.d remembered
`; got != want {
		t.Errorf("with a ware gone:\n%swant\n%s", got, want)
	}
	w.forget()
	if got := lines(w.explain(diamond(t), "a")); got != "step.a run; nothing changed, but its memo is gone\n" {
		t.Errorf("with memos gone: %s", got)
	}
}

func TestExplainChanges(t *testing.T) {
	w := newWorld(t)
	base := func() *formula.Step {
		s := step("step.a", formula.Input{Port: "/src", From: formula.Ref{Ware: "ware.base"}, Mode: formula.ReadOnly})
		s.Env = []formula.EnvVar{{Name: "A", Value: "1"}, {Name: "B", Value: "2"}}
		s.Action.Script = []string{"one", "two"}
		return s
	}
	w.run(mustNew(t, base()))
	for _, tt := range []struct {
		change func(*formula.Step)
		want   string
	}{
		{func(s *formula.Step) { s.Action.Script[1] = "2" }, "script entry 2 changed"},
		{func(s *formula.Step) { s.Action.Script = s.Action.Script[:1] }, "script entry 2 was removed"},
		{func(s *formula.Step) { s.Action = formula.Action{Exec: []string{"x"}} },
			"exec is new; interpreter was removed; script entry 1 was removed; script entry 2 was removed"},
		{func(s *formula.Step) { s.Env[1].Value = "secret" }, "env B changed"},
		{func(s *formula.Step) { s.Env[1].Name = "C" }, "env C is new; env B was removed"},
		{func(s *formula.Step) { s.Inputs[1].Mode = formula.Overlay }, "input /src changed: ro → overlay"},
		{func(s *formula.Step) { s.Inputs[1].Port = "/s" }, "input /s is new; input /src was removed"},
		{func(s *formula.Step) { s.Outputs[0].Path = "/o" }, "output out changed"},
		{func(s *formula.Step) { s.Cwd = "/w"; s.User = "1:1" }, "cwd changed: / → /w; user changed: 0:0 → 1:1"},
	} {
		s := base()
		tt.change(s)
		if got := lines(w.explain(mustNew(t, s))); got != "step.a run; "+tt.want+"\n" {
			t.Errorf("got %swant %s", got, tt.want)
		}
	}
	other := warehouse.WareID{Packtype: "tree", Hash: strings.Repeat("c", 64) + "-9"}
	p, err := New(&formula.Formula{Steps: []*formula.Step{base()}}, map[string]warehouse.WareID{"ware.base": other})
	if err != nil {
		t.Fatal(err)
	}
	e := w.explain(p)[0]
	want := Reason{ReasonInput, "/src", idA.String(), other.String(), "input /src changed: tree:aaaa-1 → tree:cccccccccccc…", nil}
	if len(e.Reasons) != 2 || !reflect.DeepEqual(e.Reasons[1], want) {
		t.Errorf("got %+v", e.Reasons)
	}
}

// TestExplainFiles: a changed path ware is explained by its files, if what it was is
// still in the warehouse.
func TestExplainFiles(t *testing.T) {
	pr := newProject(t, map[string]formula.Source{"ware.base": {Kind: formula.SourcePath, Path: "src"}})
	pr.formula.Steps = []*formula.Step{step("step.a")}
	for i := range 3 {
		pr.write(fmt.Sprintf("src/dir/%d", i), "a")
	}
	p, _ := pr.resolve()
	old := p.Wares["ware.base"]
	if diags := p.Fetch(t.Context(), []string{"ware.base"}); diags.HasErrors() {
		t.Fatal(diags)
	}
	pr.run(p)
	pr.write("src/dir/1", "b")
	pr.write("src/new", "b")
	p, _ = pr.resolve()
	what := "step.a run; input / changed: " + Short(old) + " → " + Short(p.Wares["ware.base"])
	if got := lines(pr.explain(p)); got != what+": dir/1 changed, new added\n" {
		t.Errorf("got %s", got)
	}
	for i := range 9 {
		pr.write(fmt.Sprintf("src/more%d", i), "b")
	}
	p, _ = pr.resolve()
	if got := lines(pr.explain(p)); !strings.HasSuffix(got, "more3 added and more\n") {
		t.Errorf("got %s", got)
	}
	if err := pr.Warehouse.Remove(old); err != nil {
		t.Fatal(err)
	}
	if got := lines(pr.explain(p)); !strings.HasSuffix(got, Short(p.Wares["ware.base"])+"\n") {
		t.Errorf("got %s", got)
	}
}

// TestHistoryDamaged: a history that cannot be read costs explanations, nothing else.
func TestHistoryDamaged(t *testing.T) {
	w := newWorld(t)
	w.run(diamond(t))
	w.forget()
	path := diamond(t).OpenHistory(w.dir).path
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head := slices.Index(whole, '\n') + 1
	for _, bad := range [][]byte{nil, whole[:10], whole[:len(whole)/2], whole[:head],
		append(whole[:head:head], `{"texts":["a"],"steps":[[0,0,7,7,7]]}`...),
		append(whole[:head:head], `{"texts":["step.a"],"steps":[[0]]}`...)} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if got := lines(w.explain(diamond(t), "a")); got != "step.a run; first time here\n" {
			t.Errorf("with history %q: %s", bad, got)
		}
		w.run(diamond(t))
		if now, _ := os.ReadFile(path); len(bad) < head && !bytes.Equal(now, whole) {
			t.Errorf("history %q was not written anew", bad)
		}
		w.forget()
	}
}

// TestHistoryKeeps: steps that did not run keep what was known of them.
func TestHistoryKeeps(t *testing.T) {
	w := newWorld(t)
	w.run(diamond(t))
	p := diamond(t)
	h := p.OpenHistory(w.dir)
	if _, err := h.Save(p, w.Memos, nil, func(s *Step) bool { return s.Addr == "step.d" }); err != nil {
		t.Fatal(err)
	}
	h = p.OpenHistory(w.dir)
	for _, s := range p.Steps {
		if _, ok := h.get(s.Addr); !ok {
			t.Errorf("forgot %s", s.Addr)
		}
	}
}

func TestWhy(t *testing.T) {
	for n, want := range map[int]string{0: "", 2: "0; 1", 5: "0; 1; 2; 3; 4", 7: "0; 1; 2; 3; and 3 more"} {
		var e Explanation
		for i := range n {
			e.Reasons = append(e.Reasons, Reason{Text: fmt.Sprint(i)})
		}
		if got := e.Why(); got != want {
			t.Errorf("%d reasons: %q, want %q", n, got, want)
		}
	}
}

func TestPending(t *testing.T) {
	w := newWorld(t)
	w.run(mustNew(t, step("step.a")))
	if got := addrs(Pending(w.explain(diamond(t)))); got != `step.b["1"] step.b["2"] step.c` {
		t.Errorf("pending: %s", got)
	}
}

func TestRememberedDamagedMemo(t *testing.T) {
	w := newWorld(t)
	p := mustNew(t, step("step.a"))
	w.run(p)
	r, _ := p.ResolveStep(p.Steps[0], nil)
	if err := w.Memos.Put(warehouse.Memo{Key: r.Key, Outputs: map[string]warehouse.WareID{"other": idA}}); err != nil {
		t.Fatal(err)
	}
	if memo, reason := Remembered(&r, w.ExplainOptions); memo != nil || reason.Text != "its memo has no output out" {
		t.Errorf("got %v, %+v", memo, reason)
	}
}

const tenThousandText = `
ware "src" {
  path = "src"
}

step "each" {
  for_each = toset(flatten([for i in range(100) : [for j in range(100) : "${i}-${j}"]]))
  inputs   = { "/" = ware.src, "$KEY" = each.key }
  script   = ["set -e", "echo ${each.key} > /out/file", "sha256sum /out/file > /out/sum"]
  outputs  = { out = "/out" }
}
`

// BenchmarkNothingChanged10000 is all of kiln's check that nothing has to run: load
// the formula, resolve, keys, memos, presence of output wares. The second part is
// the same without the formula and its sources.
func BenchmarkNothingChanged10000(b *testing.B) {
	pr := newProject(b, nil)
	pr.write("kiln.hcl", tenThousandText)
	pr.write("src/file", "text")
	load := func() *Plan {
		f, diags := formula.Load(pr.dir, formula.LoadOptions{})
		if diags.HasErrors() {
			b.Fatal(diags)
		}
		p, diags := Resolve(b.Context(), f, pr.options)
		if diags.HasErrors() {
			b.Fatal(diags)
		}
		return p
	}
	check := func(p *Plan) {
		o := pr.ExplainOptions
		o.History = p.OpenHistory(pr.world.dir)
		all, err := p.Explain(b.Context(), p.Steps, o)
		if err != nil || len(all) != 10000 {
			b.Fatalf("%d steps, %v", len(all), err)
		}
		if i := slices.IndexFunc(all, func(e Explanation) bool { return e.State != StateRemembered }); i >= 0 {
			b.Fatalf("%s", lines(all[i:i+1]))
		}
	}
	pr.run(load())
	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			check(load())
		}
	})
	p := load()
	b.Run("check", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			check(p)
		}
	})
}
