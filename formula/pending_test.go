package formula

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const callFormula = `
ware "base" {
  builtin = "toolbox"
}
ware "late" {
  path = call.plan.output.dir
}
function "plan" {
  inputs = { "/" = ware.base }
  exec   = ["plan"]
  memory = "1.5GiB"
}
function "late" {
  inputs = { "/" = ware.base, "/data" = ware.late }
  exec   = ["late"]
}
call "plan" {
  function = function.plan
  input    = { n = 2, "a/b" = "<&>", big = 12345678901234567890123456789 }
}
call "each" {
  for_each = toset(["x", "y"])
  function = function.plan
  input    = each.key
  inputs   = { "/more" = step.early.out }
}
call "second" {
  function = function.late
  input    = [for c in call.each : c.output]
}
locals {
  parts = { for p in call.plan.output.parts : p => "part-${p}" }
}
step "early" {
  inputs  = { "/" = ware.base }
  exec    = ["a"]
  outputs = { out = "/out" }
}
step "file" {
  inputs = { "/" = ware.base, "/plan.json" = call.plan.file }
  exec   = ["a"]
}
step "part" {
  for_each = local.parts
  inputs   = { "/" = ware.base, "$PART" = each.value }
  exec     = ["a"]
  outputs  = { out = "/out" }
}
step "join" {
  inputs  = merge({ "/" = ware.base }, { for k, p in step.part : "/p/${k}" => p.out })
  exec    = ["a"]
  outputs = { out = "/out" }
}
step "one" {
  inputs  = { "/" = ware.base, "$N" = call.each["x"].output }
  exec    = ["a"]
  outputs = { out = "/out" }
}
step "after" {
  inputs     = { "/" = ware.base, "/one" = step.one.out }
  exec       = ["a"]
  outputs    = { out = "/out" }
}
step "waits" {
  inputs     = { "/" = ware.base }
  exec       = ["a"]
  depends_on = [call.second]
}
output "joined" { value = step.join.out }
output "early" { value = step.early.out }
output "after" { value = step.after.out }
`

func loadCalls(t *testing.T, text string, results map[string]Result) *Formula {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kiln.hcl")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	f, diags := Load(path, LoadOptions{Results: results})
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	return f
}

func steps(f *Formula) string {
	var addrs []string
	for _, s := range f.Steps {
		addrs = append(addrs, s.Addr)
	}
	slices.Sort(addrs)
	return strings.Join(addrs, " ")
}

func pending(f *Formula) string {
	var texts []string
	for _, p := range f.Pending {
		texts = append(texts, fmt.Sprint(p.Addr, p.Awaits))
	}
	return strings.Join(texts, " ")
}

// A formula becomes known as its calls give their outputs.
func TestRounds(t *testing.T) {
	f := loadCalls(t, callFormula, nil)
	if got, want := steps(f), `call.each["x"] call.each["y"] call.plan step.early step.file`; got != want {
		t.Errorf("steps %s, want %s", got, want)
	}
	if got, want := pending(f), `call.second[call.each["x"] call.each["y"]] output.after[call.each["x"]] output.joined[call.plan] `+
		`step.after[call.each["x"]] step.join[call.plan] step.one[call.each["x"]] step.part[call.plan] step.waits[call.each["x"] call.each["y"]] ware.late[call.plan]`; got != want {
		t.Errorf("pending\n%s, want\n%s", got, want)
	}
	if got := f.Awaited(); !slices.Equal(got, []string{"call.plan", `call.each["x"]`, `call.each["y"]`}) {
		t.Errorf("awaited %q", got)
	}
	plan := f.Steps[slices.IndexFunc(f.Steps, func(s *Step) bool { return s.Addr == "call.plan" })]
	if c := plan.Action.Call; string(c.Input) != `{"a/b":"<&>","big":12345678901234567890123456789,"n":2}` || c.Memory != 3<<29 || plan.Timeout != defaultCallTimeout {
		t.Errorf("call.plan: %s, %+v", c.Input, plan)
	}
	results := map[string]Result{
		"call.plan": {Output: []byte(`{"parts": ["u", "v"], "dir": "src"}`)},
	}
	f = loadCalls(t, callFormula, results)
	if got, want := steps(f), `call.each["x"] call.each["y"] call.plan step.early step.file step.join step.part["u"] step.part["v"]`; got != want {
		t.Errorf("second round: steps %s, want %s", got, want)
	}
	if len(f.Wares) != 2 || len(f.Outputs) != 2 {
		t.Errorf("second round: %d wares, %d outputs", len(f.Wares), len(f.Outputs))
	}
	results[`call.each["x"]`], results[`call.each["y"]`] = Result{Output: []byte("1.50")}, Result{Output: []byte(`null`)}
	f = loadCalls(t, callFormula, results)
	if f.Pending != nil {
		t.Errorf("third round: pending %s", pending(f))
	}
	one := f.Steps[slices.IndexFunc(f.Steps, func(s *Step) bool { return s.Addr == "step.one" })]
	if one.Env[0].Value != "1.5" {
		t.Errorf("step.one: %+v", one.Env)
	}
}

// What a sensitive input led to is sensitive.
func TestSensitiveCalls(t *testing.T) {
	const text = `
variable "key" {
  default   = "k"
  sensitive = true
}
ware "base" {
  builtin = "toolbox"
}
function "f" {
  inputs = { "/" = ware.base }
  exec   = ["a"]
}
call "a" {
  function = function.f
  input    = var.key
}
step "b" {
  inputs = { "/" = ware.base, "$A" = call.a.output }
  exec   = ["a"]
}
`
	f := loadCalls(t, text, nil)
	if len(f.Steps) != 1 || !f.Steps[0].Sensitive {
		t.Fatalf("%+v", f.Steps)
	}
	f = loadCalls(t, text, map[string]Result{"call.a": {Output: []byte(`"x"`), Sensitive: true}})
	if len(f.Steps) != 2 || !f.Steps[1].Sensitive {
		t.Fatalf("%+v", f.Steps)
	}
}

func TestResults(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kiln.hcl")
	if err := os.WriteFile(path, []byte(callFormula), 0o644); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		strings.Repeat("[", 5000) + strings.Repeat("]", 5000): "Output of a call cannot be used",
		`{"parts": 3, "dir": "src"}`:                          "Iteration over non-iterable value",
		`{"dir": "src"}`:                                      "Unsupported attribute",
	} {
		_, diags := Load(path, LoadOptions{Results: map[string]Result{"call.plan": {Output: []byte(text)}}})
		if !diags.HasErrors() || !slices.ContainsFunc(diags.Errs(), func(err error) bool { return strings.Contains(err.Error(), want) }) {
			t.Errorf("%.40s: %v, want %s", text, diags, want)
		}
	}
}
