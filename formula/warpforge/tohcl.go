package warpforge

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclwrite"
	"github.com/kilnbuild/kiln/internal/lazyregexp"
	"github.com/zclconf/go-cty/cty"

	"github.com/kilnbuild/kiln/formula"
)

// ToHCL writes the document as a formula in HCL whose steps have the same keys. What
// the document implies is written out, with a comment. An error names what HCL
// cannot say.
func (l *Loaded) ToHCL() ([]byte, hcl.Diagnostics) {
	c := converter{l: l, wares: map[string]string{}, steps: map[string]string{}}
	taken := map[string]bool{}
	for _, w := range l.Formula.Wares {
		c.wares[w.Addr] = unique(blockName(strings.TrimPrefix(w.Addr, "ware.")), taken)
	}
	taken = map[string]bool{}
	for _, s := range l.Formula.Steps {
		c.steps[s.Addr] = unique(blockName(strings.TrimPrefix(s.Addr, "step.")), taken)
	}
	c.begin()
	for _, w := range l.Formula.Wares {
		c.ware(w)
	}
	for _, s := range l.Formula.Steps {
		c.step(s)
	}
	taken = map[string]bool{}
	for _, o := range l.Formula.Outputs {
		c.line("output %s {", quoted(unique(blockName(o.Name), taken)))
		c.line("value = %s", c.ref(o.From))
		c.line("}\n")
	}
	return hclwrite.Format(bytes.TrimRight(c.b.Bytes(), "\n")), c.diags
}

type converter struct {
	l     *Loaded
	b     bytes.Buffer
	wares map[string]string // names of blocks by address
	steps map[string]string
	diags hcl.Diagnostics
}

func (c *converter) line(format string, args ...any) { fmt.Fprintf(&c.b, format+"\n", args...) }

func (c *converter) begin() {
	if c.l.Module != "" {
		c.line("# The module %s.", c.l.Module)
	}
	if slices.ContainsFunc(c.l.Formula.Steps, func(s *formula.Step) bool { return s.Action.Continue }) {
		c.line("# on_error: a script of warpforge's goes on after an entry that fails.")
	}
	c.line("# mode: a step of warpforge's may write to each of its inputs.\n")
}

func (c *converter) ware(w *formula.Ware) {
	s := w.Source
	switch {
	case s.ID == formula.EmptyWare && w.Addr == "ware.empty":
		c.line("# What a step without an input at \"/\" has there: nothing.")
	case s.Unlocked && s.Kind != formula.SourceCatalog:
		c.line("# The lock file pins the commit; warpforge reads the ref anew by every run, for\n# which there is: kiln update.")
	}
	c.line("ware %s {", quoted(c.wares[w.Addr]))
	switch s.Kind {
	case formula.SourceID:
		c.line("id = %s", quoted(s.ID))
		if len(s.Addresses) > 0 {
			c.line("addresses = %s", quotedList(s.Addresses))
		}
	case formula.SourceText:
		c.text("text", s.Text, w.Source.Range)
	case formula.SourceCatalog:
		c.line("catalog = %s", quoted(s.Catalog))
	case formula.SourceGit:
		c.line("git = %s\nref = %s", quoted(s.Git), quoted(s.Ref))
	}
	c.line("}\n")
}

func (c *converter) step(s *formula.Step) {
	c.line("step %s {", quoted(c.steps[s.Addr]))
	c.line("inputs = {")
	for _, in := range s.Inputs {
		c.line("%s = %s", quoted(in.Port), c.input(in))
	}
	for _, v := range s.Env {
		c.text(quoted("$"+v.Name), v.Value, s.Range)
	}
	c.line("}")
	switch {
	case s.Action.Echo:
		c.line("echo = true")
	case len(s.Action.Exec) > 0:
		c.list("exec", s.Action.Exec, s.Range)
	case len(s.Action.Script) > 0:
		if interpreter := s.Action.Interpreter[0]; interpreter != "/bin/sh" {
			c.line("interpreter = %s", quoted(interpreter))
		}
		c.list("script", s.Action.Script, s.Range)
		c.line("on_error = \"continue\"")
	default:
		c.fail(s.Range, "An empty command cannot be written in HCL, and does nothing.")
	}
	if s.Network {
		c.line("network = true")
	}
	if len(s.Outputs) > 0 {
		c.line("outputs = {")
	}
	for _, o := range s.Outputs {
		if !formula.ValidName(o.Name) {
			c.fail(o.Range, "The output %s cannot have this name in HCL, where names have letters, digits, underscores and hyphens.", quote(o.Name))
		}
		attrs := fmt.Sprintf("path = %s, packtype = %s", quoted(o.Path), quoted(o.Packtype))
		if o.Filters != "" {
			attrs += ", filters = " + quoted(o.Filters)
		}
		c.line("%s = { %s }", o.Name, attrs)
	}
	if len(s.Outputs) > 0 {
		c.line("}")
	}
	c.line("}\n")
}

func (c *converter) input(in formula.Input) string {
	if in.Host != "" {
		path := in.Host
		if rel, err := filepath.Rel(c.l.Formula.Dir, path); err == nil && filepath.IsLocal(rel) {
			path = rel
		}
		return fmt.Sprintf("{ mount = %s, mode = %s }", quoted(path), quoted(string(in.Mode)))
	}
	attrs := "from = " + c.ref(in.From)
	if in.Port != "/" {
		attrs += ", mode = " + quoted(string(in.Mode))
	}
	if in.Filters != "" {
		attrs += ", filters = " + quoted(in.Filters)
	}
	if attrs == "from = "+c.ref(in.From) {
		return c.ref(in.From)
	}
	return "{ " + attrs + " }"
}

func (c *converter) ref(r formula.Ref) string {
	if r.Ware != "" {
		return "ware." + c.wares[r.Ware]
	}
	return "step." + c.steps[r.Step] + "." + r.Output
}

// text writes a text that a person wrote.
func (c *converter) text(name, text string, at hcl.Range) {
	c.checkText(text, at)
	c.line("%s = %s", name, quoted(text))
}

func (c *converter) list(name string, texts []string, at hcl.Range) {
	for _, text := range texts {
		c.checkText(text, at)
	}
	c.line("%s = %s", name, quotedList(texts))
}

// checkText reports text that would be another one in HCL.
func (c *converter) checkText(text string, at hcl.Range) {
	if cty.StringVal(text).AsString() != text {
		c.fail(at, "The text %s is not in Unicode's normal form C, which HCL puts all text into.", quote(text))
	}
}

func (c *converter) fail(at hcl.Range, detail string, args ...any) {
	c.diags = append(c.diags, problem(at, "Cannot be converted", detail, args...))
}

// quoted writes a string literal of HCL.
func quoted(text string) string {
	return string(hclwrite.TokensForValue(cty.StringVal(text)).Bytes())
}

// quotedList writes a list, one entry a line if there are several.
func quotedList(texts []string) string {
	if len(texts) == 1 {
		return "[" + quoted(texts[0]) + "]"
	}
	var b strings.Builder
	b.WriteString("[\n")
	for _, text := range texts {
		b.WriteString(quoted(text) + ",\n")
	}
	return b.String() + "]"
}

var noNameChars = lazyregexp.New(`[^A-Za-z0-9_]+`)

// blockName makes a name for a block of HCL from any.
func blockName(name string) string {
	if formula.ValidName(name) {
		return name
	}
	name = strings.Trim(noNameChars.ReplaceAllString(name, "-"), "-")
	if name == "" || !formula.ValidName(name[:1]) {
		name = "x" + name
	}
	return strings.TrimSuffix(name[:min(len(name), 100)], "-")
}

// unique returns name, with a number if it is taken.
func unique(name string, taken map[string]bool) string {
	for n, base := 2, name; taken[name]; n++ {
		name = base + "-" + strconv.Itoa(n)
	}
	taken[name] = true
	return name
}
