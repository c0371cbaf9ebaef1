package formula

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const variablesFormula = `
variable "s" { default = "default" }
variable "n" {
  type    = number
  default = 0
}
variable "l" {
  type    = list(string)
  default = []
}
variable "o" {
  type = object({ a = string, b = optional(number, 7) })
  default = { a = "x" }
}

ware "base" { builtin = "toolbox" }

step "show" {
  inputs = { "/" = ware.base }
  exec   = [var.s, var.n, join("+", var.l), "${var.o.a}${var.o.b}"]
}
`

// TestPrecedence sets the same variables in every way there is.
func TestPrecedence(t *testing.T) {
	dir := writeFormula(t, variablesFormula)
	file := func(name, text string) string {
		name = filepath.Join(dir, name)
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name
	}
	first, second := file("first.vars", `s = "first"`+"\nn = 1"), file("second.json", `{"s": "second", "l": ["x", "y"]}`)
	env := []string{"KILN_VAR_s=env", "KILN_VAR_n=5", "s=wrong", "KILN_VAR_other=ignored", "HOME=/"}
	for _, tt := range []struct {
		name string
		o    LoadOptions
		want string
	}{
		{"defaults", LoadOptions{}, "default 0  x7"},
		{"environment", LoadOptions{Env: env}, "env 5  x7"},
		{"file over environment", LoadOptions{Env: env, VarFiles: []string{first}}, "first 1  x7"},
		{"later file", LoadOptions{Env: env, VarFiles: []string{first, second}}, "second 1 x+y x7"},
		{"flag over all", LoadOptions{Env: env, VarFiles: []string{second}, Vars: map[string]string{"s": "flag", "l": `["f"]`}}, "flag 5 f x7"},
		{"object", LoadOptions{Vars: map[string]string{"o": `{ a = "y", b = 1 }`}}, "default 0  y1"},
		{"text is not an expression", LoadOptions{Vars: map[string]string{"s": `"${x}"`, "n": " 12"}}, ""},
		{"text", LoadOptions{Vars: map[string]string{"s": `"${x}"`}}, `"${x}" 0  x7`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, diags := Load(dir, tt.o)
			if tt.want == "" {
				if !diags.HasErrors() || diags[0].Summary != "Wrong type" {
					t.Errorf("diagnostics: %v", diags)
				}
				return
			}
			if diags.HasErrors() {
				t.Fatal(text(f, diags))
			}
			if got := strings.Join(f.Steps[0].Action.Exec, " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// TestSensitive follows a sensitive value through everything that can be made of it.
func TestSensitive(t *testing.T) {
	f, diags := Load(writeFormula(t, `
variable "secret" {
  default   = "hunter2"
  sensitive = true
}
variable "list" {
  default   = ["hunter2"]
  sensitive = true
}
locals {
  derived = { deep = ["x", upper(var.secret)] }
}
ware "base" { builtin = "toolbox" }
step "plain" {
  inputs = { "/" = ware.base }
  exec   = ["true", local.derived.deep[0]]
}
step "port" {
  inputs = { "/" = ware.base, "$S" = var.secret }
  exec   = ["true"]
}
step "env" {
  inputs = { "/" = ware.base }
  env    = { S = jsonencode(local.derived) }
  exec   = ["true"]
}
step "exec" {
  inputs = { "/" = ware.base }
  exec   = concat(["true"], var.list)
}
step "script" {
  for_each = toset(["a", "b"])
  inputs = { "/" = ware.base }
  script = ["echo ${{ a = local.derived.deep[1], b = "none" }[each.key]}"]
}
step "chosen" {
  inputs = { "/" = var.secret == "x" ? ware.base : step.plain2.out }
  exec   = ["true"]
}
step "plain2" {
  inputs  = { "/" = ware.base }
  exec    = ["true"]
  outputs = { out = "/out" }
}
`), LoadOptions{})
	if diags.HasErrors() {
		t.Fatal(text(f, diags))
	}
	want := map[string]bool{
		"step.plain": false, "step.plain2": false, "step.port": true, "step.env": true, "step.exec": true,
		`step.script["a"]`: true, `step.script["b"]`: false, "step.chosen": true,
	}
	for _, s := range f.Steps {
		if s.Sensitive != want[s.Addr] {
			t.Errorf("%s: Sensitive is %v", s.Addr, s.Sensitive)
		}
	}
	if len(f.Steps) != len(want) {
		t.Errorf("%d steps, want %d", len(f.Steps), len(want))
	}
}

// TestVariableFiles loads variable files that are not as they should be, and one
// through a symlink that leads elsewhere.
func TestVariableFiles(t *testing.T) {
	dir := writeFormula(t, `variable "a" {}`)
	elsewhere := t.TempDir()
	for name, content := range map[string]string{
		"broken.json": "{\"a\": 1,\n]",
		"deep.json":   `{"a": ` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + "}",
		"list.json":   "[1]",
		"good.hcl":    "a = 1",
	} {
		if err := os.WriteFile(filepath.Join(elsewhere, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join(elsewhere, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		f, diags := Load(dir, LoadOptions{VarFiles: []string{filepath.Join(dir, name)}})
		if name == "good.hcl" {
			if diags.HasErrors() {
				t.Error(text(f, diags))
			}
			continue
		}
		subject := ""
		for _, d := range diags {
			if d.Subject != nil && filepath.Base(d.Subject.Filename) == name {
				subject = d.Subject.Filename
			}
		}
		if subject == "" || f.Sources[subject] == nil {
			t.Errorf("%s: no diagnostic with a source: %v", name, diags)
		}
	}
}
