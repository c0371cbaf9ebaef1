package warpforge

import (
	"cmp"
	"slices"
	"strings"
)

// order returns the steps of a plot in the order in which warpforge runs them: by
// name, and before each step those it takes something from, by name. It reports steps
// that wait for each other.
func (l *Loaded) order(p *Plot) []*Step {
	o := orderer{l: l, byName: map[string]*Step{}, done: map[string]bool{}}
	for i := range p.Steps {
		o.byName[p.Steps[i].Name.Value] = &p.Steps[i]
	}
	byName := make([]*Step, len(p.Steps))
	for i := range p.Steps {
		byName[i] = &p.Steps[i]
	}
	slices.SortFunc(byName, func(a, b *Step) int { return strings.Compare(a.Name.Value, b.Name.Value) })
	for _, s := range byName {
		o.visit(s)
	}
	return o.order
}

type orderer struct {
	l      *Loaded
	byName map[string]*Step
	done   map[string]bool
	stack  []*Step
	order  []*Step
}

func (o *orderer) visit(s *Step) {
	if o.done[s.Name.Value] {
		return
	}
	if i := slices.Index(o.stack, s); i >= 0 {
		var names []string
		for _, in := range append(slices.Clone(o.stack[i:]), s) {
			names = append(names, in.Name.Value)
		}
		o.l.report(problem(s.Name.Range, "Steps in a circle", "These steps wait for each other: %s.", strings.Join(names, " takes from ")))
		return
	}
	o.stack = append(o.stack, s)
	for _, in := range pipes(s) {
		if needed := o.byName[in.Parts[0]]; needed != nil {
			o.visit(needed)
		}
	}
	o.stack = o.stack[:len(o.stack)-1]
	if !o.done[s.Name.Value] {
		o.done[s.Name.Value] = true
		o.order = append(o.order, s)
	}
}

// pipes returns the inputs of a step that are pipes from another, sorted by what they
// name.
func pipes(s *Step) []Input {
	var inputs []Input
	if s.Formula != nil {
		inputs = s.Formula.Inputs
	} else {
		inputs = s.Plot.Inputs
	}
	var list []Input
	for _, in := range inputs {
		if in.Kind == InputPipe && in.Parts[0] != "" {
			list = append(list, in)
		}
	}
	slices.SortFunc(list, func(a, b Input) int {
		return cmp.Or(strings.Compare(a.Parts[0], b.Parts[0]), strings.Compare(a.Parts[1], b.Parts[1]))
	})
	return list
}
