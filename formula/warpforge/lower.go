package warpforge

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/formula"
)

// lower turns the document into a formula.
func (l *Loaded) lower() {
	l.Steps = map[string]*Bound{}
	w := &lowering{Loaded: l, wares: map[string]*formula.Ware{}}
	switch d := l.Document; d.Kind {
	case KindFormula:
		s := plotScope{}
		w.step(&s, "formula", d.Formula)
		for _, g := range d.Formula.Outputs {
			l.Formula.Outputs = append(l.Formula.Outputs, &formula.Output{
				Name: g.Name.Value, From: formula.Ref{Step: "step.formula", Output: g.Name.Value}, Range: g.Name.Range,
			})
		}
	default:
		outputs := w.plot("", d.Plot, nil)
		for _, o := range d.Plot.Outputs {
			b, ok := outputs[o.Name.Value]
			if !ok {
				continue
			}
			ref, ok := w.outputRef(b, o)
			if ok {
				l.Formula.Outputs = append(l.Formula.Outputs, &formula.Output{Name: o.Name.Value, From: ref, Range: o.Name.Range})
			}
		}
	}
	slices.SortFunc(l.Formula.Wares, func(a, b *formula.Ware) int { return strings.Compare(a.Addr, b.Addr) })
}

type lowering struct {
	*Loaded
	wares map[string]*formula.Ware // by kind and text of the input
}

// A binding is what an input or an output stands for, with all pipes followed.
type binding struct {
	in      *Input      // not a pipe; nil: the output of a step
	ref     formula.Ref // of a step, when in is nil
	name    string      // for the ware, if it becomes one
	filters []Filter
	complex bool
}

// A plotScope is what pipes in one plot can name.
type plotScope struct {
	prefix string // "" or "sub."
	inputs map[string]binding
	steps  map[string]map[string]binding // by step and label
}

// plot lowers a plot and returns what its outputs stand for. outer is nil for the
// document's own.
func (w *lowering) plot(prefix string, p *Plot, outer *plotScope) map[string]binding {
	s := &plotScope{prefix: prefix, inputs: map[string]binding{}, steps: map[string]map[string]binding{}}
	for i := range p.Inputs {
		in := &p.Inputs[i]
		if b, ok := w.resolve(outer, in, prefix+in.Name.Value); ok {
			s.inputs[in.Name.Value] = b
		} else {
			s.inputs[in.Name.Value] = binding{in: &Input{}} // reported already
		}
	}
	for i := range p.Steps { // the names of outputs, which pipes are checked against, come first
		s.steps[p.Steps[i].Name.Value] = declared(&p.Steps[i])
	}
	for _, step := range w.order(p) {
		if step.Plot != nil {
			s.steps[step.Name.Value] = w.plot(prefix+step.Name.Value+".", step.Plot, s)
			continue
		}
		addr := w.step(s, step.Name.Value, step.Formula)
		for _, g := range step.Formula.Outputs {
			s.steps[step.Name.Value][g.Name.Value] = binding{ref: formula.Ref{Step: addr, Output: g.Name.Value}}
		}
	}
	outputs := map[string]binding{}
	for _, o := range p.Outputs {
		in := &Input{Name: o.Name, Kind: InputPipe, Parts: []string{o.Step, o.Label}, Range: o.Range}
		b, ok := w.resolve(s, in, "")
		if !ok {
			b = binding{in: &Input{}}
		}
		outputs[o.Name.Value] = b
	}
	return outputs
}

// declared holds the names of a step's outputs, bound to nothing yet.
func declared(s *Step) map[string]binding {
	outputs := map[string]binding{}
	if s.Formula != nil {
		for _, g := range s.Formula.Outputs {
			outputs[g.Name.Value] = binding{in: &Input{}}
		}
		return outputs
	}
	for _, o := range s.Plot.Outputs {
		outputs[o.Name.Value] = binding{in: &Input{}}
	}
	return outputs
}

// resolve follows an input that stands in a plot's scope. It is false, and reported,
// when a pipe leads nowhere.
func (w *lowering) resolve(s *plotScope, in *Input, name string) (binding, bool) {
	if in.Kind != InputPipe {
		return binding{in: in, name: name, filters: in.Filters, complex: in.Complex}, true
	}
	step, label := in.Parts[0], in.Parts[1]
	if s == nil {
		w.report(problem(in.Range, "Pipe to nowhere", "An input of the whole plot cannot be a pipe: there is nothing outside it that it could lead to."))
		return binding{}, false
	}
	b, ok := binding{}, false
	switch outputs := s.steps[step]; {
	case step == "":
		if b, ok = s.inputs[label]; !ok {
			w.report(problem(in.Range, "Pipe to nowhere", "The plot has no input %s.%s", quote(label), formula.DidYouMean(label, keys(s.inputs))))
		}
	case outputs == nil:
		w.report(problem(in.Range, "Pipe to nowhere", "The plot has no step %s.%s", quote(step), formula.DidYouMean(step, keys(s.steps))))
	default:
		if b, ok = outputs[label]; !ok {
			w.report(problem(in.Range, "Pipe to nowhere", "The step %s has no output %s.%s", quote(step), quote(label), formula.DidYouMean(label, keys(outputs))))
		}
	}
	if ok && b.in != nil && b.in.Kind == "" {
		return binding{}, false // reported where it was written, or a circle
	}
	if in.Complex {
		b.filters, b.complex = joinFilters(b.filters, in.Filters), true
	}
	return b, ok
}

// joinFilters returns outer's filters with inner's in place of those or after them.
func joinFilters(outer, inner []Filter) []Filter {
	var joined []Filter
	for _, f := range outer {
		if !slices.ContainsFunc(inner, func(o Filter) bool { return o.Key.Value == f.Key.Value }) {
			joined = append(joined, f)
		}
	}
	return append(joined, inner...)
}

func keys[T any](m map[string]T) (list []string) {
	for key := range m {
		list = append(list, key)
	}
	return list
}

// outputRef returns what an output of the document names.
func (w *lowering) outputRef(b binding, o PlotOutput) (formula.Ref, bool) {
	switch {
	case b.in == nil:
		return b.ref, true
	case b.in.Kind == "":
		return formula.Ref{}, false
	case b.in.Kind == InputMount:
		w.report(problem(o.Range, "Output is no ware", "The output %s leads to a mount, which is no ware.", quote(o.Name.Value)))
		return formula.Ref{}, false
	}
	return formula.Ref{Ware: w.ware(b)}, true
}

// ware returns the address of the ware that a binding stands for. Inputs that say the
// same are one ware, named after the first.
func (w *lowering) ware(b binding) string {
	key := string(b.in.Kind) + ":" + b.in.Text
	if known := w.wares[key]; known != nil {
		return known.Addr
	}
	ware := &formula.Ware{Addr: "ware." + b.name, Dir: w.Formula.Dir, Range: b.in.Name.Range}
	ware.Source.Range = b.in.Range
	switch b.in.Kind {
	case InputWare:
		ware.Source.Kind, ware.Source.ID, ware.Source.Unlocked = formula.SourceID, b.in.Text, true
		for _, house := range w.Document.Warehouses {
			if house.Ware.Value == b.in.Text {
				ware.Source.Addresses = append(ware.Source.Addresses, house.Addr.Value)
			}
		}
	case InputLiteral:
		ware.Source.Kind, ware.Source.Text = formula.SourceText, b.in.Text
	case InputCatalog:
		ware.Source.Kind, ware.Source.Catalog, ware.Source.Unlocked = formula.SourceCatalog, b.in.Text, true
	case InputIngest:
		ware.Source.Kind, ware.Source.Git, ware.Source.Ref = formula.SourceGit, b.in.Parts[0], b.in.Parts[1]
		if strings.HasPrefix(ware.Source.Git, "~") || formula.IsGitURL(ware.Source.Git) {
			ware.Source.Git = w.abs(ware.Source.Git) // in a document it is a path, whatever it looks like
		}
		ware.Source.Unlocked = true
	}
	w.wares[key] = ware
	w.Formula.Wares = append(w.Formula.Wares, ware)
	return ware.Addr
}

func (w *lowering) abs(path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(w.Formula.Dir, path)
}

func inputProblem(in Input, summary, detail string, args ...any) *hcl.Diagnostic {
	return problem(in.Name.Range, summary, detail, args...)
}
