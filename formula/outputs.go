package formula

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Packtypes are those that an output can be packed as, the default first. Package pack
// knows how.
var Packtypes = []string{"tree", "tar", "zip"}

type outputEntry struct {
	output StepOutput
	ok     bool
}

// outputFields prepares the outputs attribute like object does.
func (s *scope) outputFields(attr *hclsyntax.Attribute) ([]field[outputEntry], *field[[]outputEntry]) {
	if attr == nil {
		return nil, nil
	}
	if cons, ok := attr.Expr.(*hclsyntax.ObjectConsExpr); ok {
		fields := make([]field[outputEntry], len(cons.Items))
		for i, pair := range cons.Items {
			fields[i] = fieldOf(s, usesEach(pair.KeyExpr) || usesEach(pair.ValueExpr), func(s *scope) outputEntry {
				entry, ok := s.pair(pair, "outputs")
				if !ok {
					return outputEntry{}
				}
				return s.outputEntry(entry)
			})
		}
		return fields, nil
	}
	whole := fieldOf(s, usesEach(attr.Expr), func(s *scope) []outputEntry {
		v, ok := s.value(attr.Expr, "outputs")
		if !ok {
			return nil
		}
		entries, _ := s.entries(v, attr.Expr.Range(), "outputs")
		outputs := make([]outputEntry, len(entries))
		for i, e := range entries {
			outputs[i] = s.outputEntry(e)
		}
		return outputs
	})
	return nil, &whole
}

// outputEntry decodes NAME = "/path" or NAME = { path =, packtype =, filters = }.
func (s *scope) outputEntry(e item) outputEntry {
	o := StepOutput{Name: e.key, Packtype: Packtypes[0], Range: e.keyAt}
	ok := true
	if !validName(e.key) {
		s.problem(e.keyAt, "Invalid name", "%s cannot name an output. "+nameRule, s.quote(e.key))
		ok = false
	}
	v := e.value
	if !v.IsNull() && v.Type().IsObjectType() {
		path, found := s.outputObject(&o, e)
		if !found {
			return outputEntry{}
		}
		v = path
		_, e.at = e.part("path")
	}
	text, textOK := s.textOf(v, e.at, "an output's path")
	if textOK {
		o.Path, textOK = s.checkPath(text, e.at, "Invalid output path", "output path. An output is an absolute path inside the step, such as \"/out\"")
	}
	return outputEntry{output: o, ok: ok && textOK}
}

var outputAttributes = []string{"path", "packtype", "filters"}

func (s *scope) outputObject(o *StepOutput, e item) (cty.Value, bool) {
	for name := range e.value.Type().AttributeTypes() {
		if !slices.Contains(outputAttributes, name) {
			nameAt, _ := e.part(name)
			s.problem(nameAt, "Unknown attribute", "An output has no attribute %s.%s", s.quote(name), didYouMean(name, outputAttributes))
		}
	}
	attrs := e.value.AsValueMap()
	if v, ok := attrs["packtype"]; ok {
		_, at := e.part("packtype")
		if text, ok := s.textOf(v, at, "packtype"); ok {
			o.Packtype = text
			if !slices.Contains(Packtypes, text) {
				s.problem(at, "Unknown packtype", "An output cannot be packed as %s.%s", s.quote(text), didYouMean(text, Packtypes))
			}
		}
	}
	if v, ok := attrs["filters"]; ok {
		_, at := e.part("filters")
		o.Filters = s.filtersOf(v, at)
	}
	path, ok := attrs["path"]
	if !ok {
		s.problem(e.at, "Output without a path", "The output %s needs a path, the place inside the step that becomes a ware.", s.quote(e.key))
	}
	return path, ok
}

// outputs returns the outputs of one instance, sorted by name. Each lies in an
// input that can be written to.
func (s *scope) outputs(f *stepFields, inputs []Input, shared []StepOutput) []StepOutput {
	outputs := shared
	if shared == nil {
		outputs = s.collectOutputs(f)
	}
	if s.failed || s.skipped {
		return outputs
	}
	for _, o := range outputs {
		s.checkOutput(o, inputs)
	}
	return outputs
}

func (s *scope) checkOutput(o StepOutput, inputs []Input) {
	switch in := owner(inputs, o.Path); {
	case in == nil:
		s.problem(o.Range, "Output outside every input",
			"The output %s at %s lies in none of the step's inputs, so there is nothing there to write to. Give the step an input at \"/\".", s.quote(o.Name), s.quote(o.Path))
	case in.Mode == ReadOnly:
		s.problem(o.Range, "Output in a read-only input",
			"The output %s at %s lies in the input at %s, which the step cannot write to. Give that input mode = \"overlay\", or write elsewhere.", s.quote(o.Name), s.quote(o.Path), s.quote(in.Port))
	}
}

func (s *scope) collectOutputs(f *stepFields) []StepOutput {
	outputs := make([]StepOutput, 0, len(f.outputs))
	add := func(e outputEntry) {
		if !e.ok {
			return
		}
		if i := slices.IndexFunc(outputs, func(o StepOutput) bool { return o.Name == e.output.Name }); i >= 0 {
			s.problem(e.output.Range, "Duplicate name", "The step already has an output %s, at %s, line %d.",
				s.quote(e.output.Name), outputs[i].Range.Filename, outputs[i].Range.Start.Line)
			return
		}
		outputs = append(outputs, e.output)
	}
	for i := range f.outputs {
		add(f.outputs[i].get(s))
	}
	if f.wholeOut != nil {
		for _, e := range f.wholeOut.get(s) {
			add(e)
		}
	}
	slices.SortFunc(outputs, func(a, b StepOutput) int { return strings.Compare(a.Name, b.Name) })
	return outputs
}

func (f *stepFields) outputsShared() bool {
	for i := range f.outputs {
		if f.outputs[i].each {
			return false
		}
	}
	return f.wholeOut == nil || !f.wholeOut.each
}
