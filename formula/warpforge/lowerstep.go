package warpforge

import (
	"path"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/formula"
)

// step lowers a formula, or a protoformula in a plot, and returns its address.
func (w *lowering) step(s *plotScope, name string, f *Formula) string {
	step := &formula.Step{Addr: "step." + s.prefix + name, Cwd: "/", User: "0:0", Range: f.Range}
	bound := &Bound{Formula: f}
	for i := range f.Inputs {
		in := &f.Inputs[i]
		b, ok := w.resolve(s, in, s.prefix+name+":"+in.Name.Value)
		if ok {
			w.input(step, bound, in, b)
		}
	}
	slices.SortFunc(step.Env, func(a, b formula.EnvVar) int { return strings.Compare(a.Name, b.Name) })
	w.implyRoot(step, f)
	w.action(step, &f.Action)
	for i := range f.Outputs {
		w.output(step, &f.Outputs[i])
	}
	slices.SortFunc(step.Outputs, func(a, b formula.StepOutput) int { return strings.Compare(a.Name, b.Name) })
	w.Formula.Steps = append(w.Formula.Steps, step)
	w.Steps[step.Addr] = bound
	return step.Addr
}

// input adds one input to a step.
func (w *lowering) input(step *formula.Step, bound *Bound, in *Input, b binding) {
	name := in.Name.Value
	basis := BoundInput{Name: name, Port: name, Filters: b.filters, Complex: b.complex}
	if b.in != nil && (b.in.Kind == InputLiteral || b.in.Kind == InputMount) {
		basis.Text = string(b.in.Kind) + ":" + b.in.Text
	}
	if variable, ok := strings.CutPrefix(name, "$"); ok {
		if w.variable(step, in, b, variable) {
			bound.Inputs = append(bound.Inputs, basis)
		}
		return
	}
	port, ok := w.port(*in)
	if !ok {
		return
	}
	basis.Port = port
	for _, other := range step.Inputs {
		if other.Port == port {
			w.report(inputProblem(*in, "Two inputs at one port", "The port %s of this step already has an input, at line %d.", quote(port), other.Range.Start.Line))
			return
		}
	}
	input := formula.Input{Port: port, Mode: formula.Overlay, Filters: filterText(b.filters), Range: in.Name.Range}
	switch {
	case b.in == nil:
		input.From = b.ref
	case b.in.Kind == InputMount:
		input.Host, input.Mode = w.abs(b.in.Parts[1]), formula.Mode(b.in.Parts[0])
		if port == "/" && input.Mode == formula.ReadWrite {
			w.report(inputProblem(*in, "Invalid mode", "What is mounted at \"/\" is an overlay: kiln has to make directories there. Write mount:overlay:%s, or mount it elsewhere.", b.in.Parts[1]))
		}
		if port == "/" {
			input.Mode = formula.Overlay
		}
	default:
		input.From = formula.Ref{Ware: w.ware(b)}
	}
	if b.in != nil && (b.in.Kind == InputMount || b.in.Kind == InputLiteral) && len(b.filters) > 0 {
		w.report(inputProblem(*in, "Filters without a ware", "Filters say how a ware is unpacked, and this input is a %s.", b.in.Kind))
	}
	for _, f := range b.filters {
		if key, value := f.Key.Value, f.Value.Value; (key == "uid" || key == "gid") && value != "0" {
			w.report(warning(f.Value.Range, "Filter without effect", "In a step every file belongs to user and group 0, whatever %s=%s says.", key, value))
		}
	}
	step.Inputs = append(step.Inputs, input)
	bound.Inputs = append(bound.Inputs, basis)
}

func (w *lowering) variable(step *formula.Step, in *Input, b binding, name string) bool {
	switch {
	case !formula.ValidVariable(name):
		w.report(inputProblem(*in, "Invalid variable name", "%s cannot name an environment variable: it has letters, digits and underscores and begins with no digit.", quote(name)))
	case b.in == nil || b.in.Kind != InputLiteral:
		w.report(problem(in.Range, "Variable is not a literal", "The variable %s takes text, \"literal:TEXT\", and this is a %s. Mount it at a path, and give the variable that path.", quote(in.Name.Value), kindOf(b)))
	case strings.Contains(b.in.Text, "\x00"):
		w.report(problem(b.in.Range, "Invalid value", "An environment variable cannot hold a NUL character."))
	default:
		step.Env = append(step.Env, formula.EnvVar{Name: name, Value: b.in.Text})
		return true
	}
	return false
}

func kindOf(b binding) string {
	if b.in == nil {
		return "ware"
	}
	return string(b.in.Kind)
}

// port checks and cleans the path of an input.
func (w *lowering) port(in Input) (string, bool) {
	name := in.Name.Value
	if !strings.HasPrefix(name, "/") || strings.Contains(name, "\x00") {
		w.report(inputProblem(in, "Invalid port", "%s is no port. An input goes to an absolute path such as \"/src\", or to a variable such as \"$NAME\".", quote(name)))
		return "", false
	}
	port := path.Clean(name)
	if dir := formula.Reserved(port); dir != "" {
		w.report(inputProblem(in, "Reserved path", "%s lies in %s, which kiln provides in every step. Choose another path.", quote(name), dir))
		return "", false
	}
	return port, true
}

// implyRoot gives a step without an input at "/" the empty ware there, to write to.
func (w *lowering) implyRoot(step *formula.Step, f *Formula) {
	if slices.ContainsFunc(step.Inputs, func(in formula.Input) bool { return in.Port == "/" }) {
		return
	}
	const addr = "ware.empty"
	if w.wares[addr] == nil {
		w.wares[addr] = &formula.Ware{Addr: addr, Dir: w.Formula.Dir, Range: f.Range,
			Source: formula.Source{Kind: formula.SourceID, ID: formula.EmptyWare, Range: f.Range}}
		w.Formula.Wares = append(w.Formula.Wares, w.wares[addr])
	}
	step.Inputs = append(step.Inputs, formula.Input{Port: "/", Mode: formula.Overlay, From: formula.Ref{Ware: addr}, Range: f.Range})
}

func (w *lowering) action(step *formula.Step, a *Action) {
	step.Network = a.Network != nil && *a.Network
	switch a.Kind {
	case ActionEcho:
		step.Action.Echo = true
	case ActionExec:
		step.Action.Exec = values(a.Command)
		step.Action.Ranges = append(step.Action.Ranges, a.Range)
		if len(a.Command) == 0 {
			w.report(warning(a.Range, "Empty command", "The command is an empty list, so that this formula has an id but cannot be run."))
		}
	case ActionScript:
		step.Action.Script = values(a.Contents)
		step.Action.Interpreter = []string{a.Interpreter.Value}
		step.Action.Continue = true
		if len(a.Contents) == 0 {
			w.report(warning(a.Range, "Empty script", "The script is an empty list, so that this formula has an id but cannot be run."))
		}
		for _, entry := range a.Contents {
			step.Action.Ranges = append(step.Action.Ranges, entry.Range)
		}
		if a.Interpreter.Value == "" {
			w.report(problem(a.Interpreter.Range, "No interpreter", "The interpreter of a script is a command, such as \"/bin/sh\"."))
		}
	}
	for _, texts := range [][]Text{a.Command, a.Contents, {a.Interpreter}} {
		for _, t := range texts {
			if strings.Contains(t.Value, "\x00") {
				w.report(problem(t.Range, "Invalid action", "A command cannot hold a NUL character."))
			}
		}
	}
}

func values(texts []Text) []string {
	list := make([]string, len(texts))
	for i, t := range texts {
		list[i] = t.Value
	}
	return list
}

func (w *lowering) output(step *formula.Step, g *Gather) {
	o := formula.StepOutput{Name: g.Name.Value, Path: path.Clean(g.From.Value), Packtype: "tar", Filters: filterText(g.Filters), Range: g.Name.Range}
	if g.Packtype.Range.Filename != "" {
		o.Packtype = g.Packtype.Value
	}
	switch {
	case g.Name.Value == "":
		w.report(problem(g.Name.Range, "Invalid name", "The name of an output is not empty."))
	case strings.HasPrefix(g.From.Value, "$"):
		w.report(problem(g.From.Range, "Output is a variable", "An output comes from a path of the step. %s is a variable, which is gone when the step has ended: write its value to a file.", quote(g.From.Value)))
	case !strings.HasPrefix(g.From.Value, "/") || strings.Contains(g.From.Value, "\x00"):
		w.report(problem(g.From.Range, "Invalid output", "%s is no path of the step, which begins with a slash.", quote(g.From.Value)))
	case formula.Reserved(o.Path) != "":
		w.report(problem(g.From.Range, "Reserved path", "%s lies in %s, which kiln provides in every step. Choose another path.", quote(g.From.Value), formula.Reserved(o.Path)))
	case !slices.Contains(formula.Packtypes, o.Packtype):
		w.report(problem(g.Packtype.Range, "Unknown packtype", "An output cannot be packed as %s.%s", quote(o.Packtype), formula.DidYouMean(o.Packtype, formula.Packtypes)))
	default:
		w.checkOwner(step, o)
		step.Outputs = append(step.Outputs, o)
	}
}

// checkOwner reports an output that lies where the step cannot write.
func (w *lowering) checkOwner(step *formula.Step, o formula.StepOutput) {
	var in *formula.Input
	for i := range step.Inputs {
		port := step.Inputs[i].Port
		if (port == "/" || o.Path == port || strings.HasPrefix(o.Path, port+"/")) && (in == nil || len(port) > len(in.Port)) {
			in = &step.Inputs[i]
		}
	}
	if in != nil && in.Mode == formula.ReadOnly {
		w.report(problem(o.Range, "Output in a read-only input", "The output %s at %s lies in the mount at %s, which the step cannot write to.", quote(o.Name), quote(o.Path), quote(in.Port)))
	}
}
