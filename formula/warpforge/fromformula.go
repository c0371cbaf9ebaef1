package warpforge

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/internal/lazyregexp"

	"github.com/kilnbuild/kiln/formula"
)

// FromFormula writes a formula as a plot. What a plot cannot say is an error; what it
// says a little differently, so that a step has another key there, is a warning.
func FromFormula(f *formula.Formula) (*Document, hcl.Diagnostics) {
	e := exporter{f: f, plot: &Plot{}, wares: map[string]string{}, steps: map[string]string{}}
	taken := map[string]bool{}
	for _, w := range f.Wares {
		if w.Source.ID == formula.EmptyWare {
			continue // where it is a root, warpforge implies it
		}
		e.wares[w.Addr] = unique(plotName(strings.Replace(w.Addr, "ware.", "", 1)), taken)
		e.ware(w)
	}
	taken = map[string]bool{}
	for _, s := range f.Steps {
		e.steps[s.Addr] = unique(plotName(strings.Replace(s.Addr, "step.", "", 1)), taken)
	}
	for _, s := range f.Steps {
		e.step(s)
	}
	for _, o := range f.Outputs {
		pipe := e.pipe(o.From)
		step, label, _ := strings.Cut(pipe, ":")
		e.plot.Outputs = append(e.plot.Outputs, PlotOutput{Name: Text{Value: o.Name}, Step: step, Label: label})
	}
	return &Document{Kind: KindPlot, Plot: e.plot}, e.diags
}

type exporter struct {
	f     *formula.Formula
	plot  *Plot
	wares map[string]string // labels by address
	steps map[string]string
	diags hcl.Diagnostics
}

func (e *exporter) fail(at hcl.Range, detail string, args ...any) {
	e.diags = append(e.diags, problem(at, "Cannot be converted", detail, args...))
}

func (e *exporter) warn(at hcl.Range, detail string, args ...any) {
	e.diags = append(e.diags, warning(at, "Converted with a difference", detail, args...))
}

func (e *exporter) ware(w *formula.Ware) {
	in := Input{Name: Text{Value: e.wares[w.Addr]}}
	s := w.Source
	switch s.Kind {
	case formula.SourceID:
		in.Kind, in.Text = InputWare, s.ID
		if len(s.Addresses) > 0 {
			e.warn(w.Range, "The addresses of %s are left out: a plot has none. They belong into a catalog's mirrors.", w.Addr)
		}
	case formula.SourceText:
		in.Kind, in.Text = InputLiteral, s.Text
	case formula.SourceCatalog:
		in.Kind, in.Text = InputCatalog, s.Catalog
	case formula.SourceGit:
		in.Kind, in.Text = InputIngest, "git:"+s.Git+":"+s.Ref
		if s.Ref == "" {
			in.Text += "HEAD"
		}
		if formula.IsGitURL(s.Git) || s.Subdir != "" || s.NoSubmodules || len(s.Include)+len(s.Exclude) > 0 || s.Filters != "" || strings.HasPrefix(s.Git, "~") {
			e.fail(w.Range, "warpforge ingests a whole commit of a repository in a directory of this machine, and %s is more than that.", w.Addr)
		}
	default:
		e.fail(w.Range, "warpforge has no wares from a %s. Name the ware by its id, which kiln fetch prints, or by a catalog.", s.Kind)
		return
	}
	e.plot.Inputs = append(e.plot.Inputs, in)
}

// pipe returns what a reference is behind "pipe:".
func (e *exporter) pipe(r formula.Ref) string {
	if r.Ware != "" {
		return ":" + e.wares[r.Ware]
	}
	return e.steps[r.Step] + ":" + r.Output
}

func (e *exporter) step(s *formula.Step) {
	f := &Formula{}
	for _, in := range s.Inputs {
		if w := in.From.Ware; w != "" && e.wares[w] == "" && in.Port == "/" {
			continue // the empty ware
		}
		f.Inputs = append(f.Inputs, e.input(s, in))
	}
	for _, v := range s.Env {
		f.Inputs = append(f.Inputs, Input{Name: Text{Value: "$" + v.Name}, Kind: InputLiteral, Text: v.Value})
	}
	f.Action = e.action(s)
	for _, o := range s.Outputs {
		g := Gather{Name: Text{Value: o.Name}, From: Text{Value: o.Path}, Packtype: Text{Value: o.Packtype, Range: hcl.Range{Filename: "-"}}}
		if o.Packtype == "tree" {
			e.warn(o.Range, "warpforge itself has no packtype tree. Give the output %s packtype = \"tar\" if it is to be read there.", o.Name)
		}
		g.Filters, g.HasFilters = filterList(o.Filters), o.Filters != ""
		f.Outputs = append(f.Outputs, g)
	}
	e.checkStep(s)
	e.plot.Steps = append(e.plot.Steps, Step{Name: Text{Value: e.steps[s.Addr]}, Formula: f})
}

func (e *exporter) input(s *formula.Step, in formula.Input) Input {
	out := Input{Name: Text{Value: in.Port}}
	if in.Host != "" {
		path := in.Host
		if rel, err := filepath.Rel(e.f.Dir, path); err == nil && filepath.IsLocal(rel) {
			path = rel
		}
		out.Kind, out.Text = InputMount, fmt.Sprintf("%s:%s", in.Mode, path)
		return out
	}
	if in.Mode == formula.ReadOnly && in.Port != "/" {
		e.warn(in.Range, "%s may write to %s in warpforge, where every input is an overlay. Its key is another one there; mode = \"overlay\" keeps it.", s.Addr, in.Port)
	}
	out.Kind, out.Text = InputPipe, e.pipe(in.From)
	out.Filters, out.Complex = filterList(in.Filters), in.Filters != ""
	return out
}

func filterList(filters string) (list []Filter) {
	if filters == "" {
		return nil
	}
	for part := range strings.SplitSeq(filters, ",") {
		key, value, _ := strings.Cut(part, "=")
		list = append(list, Filter{Text{Value: key}, Text{Value: value}})
	}
	return list
}

func (e *exporter) action(s *formula.Step) Action {
	a := Action{Kind: ActionExec, Command: textList(s.Action.Exec)}
	switch {
	case s.Action.Echo:
		a = Action{Kind: ActionEcho}
	case s.Action.Script != nil:
		a = Action{Kind: ActionScript, Interpreter: Text{Value: s.Action.Interpreter[0]}, Contents: textList(s.Action.Script)}
		if len(s.Action.Interpreter) > 1 {
			e.fail(s.Range, "The interpreter of %s has arguments, which warpforge's has not.", s.Addr)
		}
		if !s.Action.Continue {
			e.warn(s.Range, "The script of %s ends with the first entry that fails, and goes on in warpforge. Its key is another one there; on_error = \"continue\" keeps it.", s.Addr)
		}
	}
	if s.Network {
		yes := true
		a.Network = &yes
	}
	return a
}

func textList(texts []string) []Text {
	list := make([]Text, len(texts))
	for i, t := range texts {
		list[i] = Text{Value: t}
	}
	return list
}

// checkStep reports what of a step a protoformula does not have.
func (e *exporter) checkStep(s *formula.Step) {
	if s.Action.Call != nil {
		e.fail(s.Range, "%s calls a function, which warpforge does not know.", s.Addr)
	}
	if s.Cwd != "/" {
		e.fail(s.Range, "A step of warpforge's starts in /, and %s in %s.", s.Addr, s.Cwd)
	}
	if s.User != "0:0" {
		e.fail(s.Range, "A step of warpforge's runs as user 0, and %s as %s.", s.Addr, s.User)
	}
	if s.Sensitive {
		e.fail(s.Range, "%s is made from a sensitive value, which the plot would show.", s.Addr)
	}
	if s.Timeout != 0 {
		e.warn(s.Range, "The timeout of %s is left out: warpforge has none.", s.Addr)
	}
	if s.Resources != (formula.Resources{}) || s.Runner != "" {
		e.warn(s.Range, "What %s may use and where it runs is left out: warpforge's steps do not say that.", s.Addr)
	}
	if len(s.DependsOn) > 0 {
		e.warn(s.Range, "The depends_on of %s is left out: in warpforge steps wait only for what they take.", s.Addr)
	}
}

var noPlotChars = lazyregexp.New(`[^A-Za-z0-9_.-]+`)

// plotName makes the name of a step or an input from an address: module.m.step.a["b"]
// is m.a.b.
func plotName(addr string) string {
	addr = strings.ReplaceAll(addr, "module.", "")
	addr = strings.ReplaceAll(addr, `["`, ".")
	return strings.Trim(noPlotChars.ReplaceAllString(addr, "-"), "-")
}
