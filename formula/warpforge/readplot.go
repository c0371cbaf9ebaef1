package warpforge

import (
	"strings"

	"github.com/kilnbuild/kiln/formula"
)

func (r *reader) plot(n node, what string) *Plot {
	p := &Plot{Range: n.start()}
	fields, _ := r.fields(n, what, "inputs!", "steps!", "outputs!")
	if in, there := fields["inputs"]; there {
		p.Inputs = r.inputs(in, "The list of inputs")
	}
	if steps, there := fields["steps"]; there {
		p.Steps = r.steps(steps)
	}
	if out, there := fields["outputs"]; there {
		p.Outputs = r.plotOutputs(out)
	}
	return p
}

func (r *reader) steps(n node) (steps []Step) {
	members, _ := r.object(n, "The list of steps")
	for _, m := range members {
		r.label(m.key, "step")
		kinds, ok := r.object(m.value, "A step")
		if ok && len(kinds) != 1 {
			r.report(m.value.start(), "Not one kind of step", "A step is a \"protoformula\" or a \"plot\".")
		}
		if !ok || len(kinds) != 1 {
			continue
		}
		step := Step{Name: m.key}
		switch kind := kinds[0]; kind.key.Value {
		case "protoformula":
			step.Formula = r.formula(kind.value, "A protoformula")
		case "plot":
			step.Plot = r.plot(kind.value, "A plot")
		default:
			r.report(kind.key.Range, "Unknown kind of step", "A step is a \"protoformula\" or a \"plot\", and this is %s.%s",
				quote(kind.key.Value), formula.DidYouMean(kind.key.Value, []string{"protoformula", "plot"}))
			continue
		}
		steps = append(steps, step)
	}
	return steps
}

func (r *reader) plotOutputs(n node) (list []PlotOutput) {
	members, _ := r.object(n, "The list of outputs")
	for _, m := range members {
		r.label(m.key, "output")
		value, ok := r.text(m.value, "An output of a plot")
		if !ok {
			continue
		}
		pipe, isPipe := strings.CutPrefix(value.Value, "pipe:")
		step, label, whole := strings.Cut(pipe, ":")
		if !isPipe || !whole || label == "" || strings.Contains(label, ":") {
			r.report(value.Range, "Invalid output", "An output of a plot is \"pipe:STEP:LABEL\", and this is %s.", quote(value.Value))
			continue
		}
		list = append(list, PlotOutput{Name: m.key, Step: step, Label: label, Range: value.Range})
	}
	return list
}

// inputs reads the inputs of a formula or a plot.
func (r *reader) inputs(n node, what string) (list []Input) {
	members, _ := r.object(n, what)
	for _, m := range members {
		in := Input{Name: m.key}
		basis := m.value
		if basis.kind == '{' {
			in.Complex = true
			fields, ok := r.fields(m.value, "An input", "basis!", "filters!")
			if filters, there := fields["filters"]; there {
				in.Filters = r.filters(filters)
			}
			if !ok {
				continue
			}
			basis = fields["basis"]
		}
		text, ok := r.text(basis, "An input")
		if !ok {
			continue
		}
		in.Range = text.Range
		if r.basis(&in, text.Value) {
			list = append(list, in)
		}
	}
	return list
}

var inputKinds = []string{"ware:", "mount:", "literal:", "pipe:", "catalog:", "ingest:"}

// forms are how each kind of input is written after its kind.
var forms = map[InputKind]string{
	InputWare: "ware:PACKTYPE:HASH", InputMount: "mount:ro:PATH, mount:rw:PATH or mount:overlay:PATH",
	InputPipe: "pipe:STEP:LABEL, or pipe::LABEL for an input of the plot", InputCatalog: "catalog:MODULE:RELEASE:ITEM",
	InputIngest: "ingest:git:PATH:REF",
}

// basis takes an input's text apart.
func (r *reader) basis(in *Input, text string) bool {
	kind, rest, ok := strings.Cut(text, ":")
	in.Kind, in.Text = InputKind(kind), rest
	if _, known := forms[in.Kind]; !ok || !known && in.Kind != InputLiteral {
		r.report(in.Range, "Unknown kind of input", "An input begins with %s, and this is %s.%s",
			strings.Join(inputKinds[:5], ", ")+" or "+inputKinds[5], quote(text), formula.DidYouMean(kind+":", inputKinds))
		return false
	}
	valid := true
	switch in.Kind {
	case InputLiteral:
		in.Parts = []string{rest}
	case InputWare:
		in.Parts = strings.Split(rest, ":")
		return r.wareID(rest, in.Range)
	case InputMount:
		in.Parts = strings.SplitN(rest, ":", 2)
		valid = len(in.Parts) == 2 && in.Parts[1] != "" && !strings.Contains(in.Parts[1], "\x00")
		if mode := in.Parts[0]; valid && mode != "ro" && mode != "rw" && mode != "overlay" {
			r.report(in.Range, "Unknown mode", "A mount is \"ro\", \"rw\" or \"overlay\", and this is %s.%s", quote(mode), formula.DidYouMean(mode, []string{"ro", "rw", "overlay"}))
			return false
		}
	case InputPipe:
		in.Parts = strings.Split(rest, ":")
		valid = len(in.Parts) == 2 && in.Parts[1] != ""
	case InputCatalog:
		in.Parts = strings.Split(rest, ":")
		valid = len(in.Parts) == 3 && fileName(in.Parts[1]) && in.Parts[2] != ""
		if valid && !r.moduleName(Text{in.Parts[0], in.Range}) {
			return false
		}
	case InputIngest:
		rest, valid = strings.CutPrefix(rest, "git:")
		i := strings.LastIndexByte(rest, ':')
		valid = valid && i > 0 && i < len(rest)-1 && !strings.Contains(rest, "\x00")
		if valid {
			in.Parts = []string{rest[:i], rest[i+1:]}
		}
	}
	if !valid {
		r.report(in.Range, "Invalid input", "This input is written %s, and this is %s.", forms[in.Kind], quote(text))
	}
	return valid
}

// fileName reports whether s can name a file of a catalog.
func fileName(s string) bool {
	return s != "" && s != "." && s != ".." && len(s) <= 250 && !strings.ContainsAny(s, "/\x00")
}
