package formula

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/kilnbuild/kiln/internal/lazyregexp"
	"github.com/zclconf/go-cty/cty"
)

// object prepares an attribute that is an object, entry by entry where it is written
// as { key = value }, so that only the entries that use `each` are decoded for each
// instance and every one knows its place.
func (s *scope) object(attr *hclsyntax.Attribute, what string, decode func(*scope, item) port) ([]field[port], *field[[]port]) {
	if attr == nil {
		return nil, nil
	}
	if cons, ok := attr.Expr.(*hclsyntax.ObjectConsExpr); ok {
		fields := make([]field[port], len(cons.Items))
		for i, pair := range cons.Items {
			fields[i] = fieldOf(s, usesEach(pair.KeyExpr) || usesEach(pair.ValueExpr), func(s *scope) port {
				entry, ok := s.pair(pair, what)
				if !ok {
					return port{}
				}
				return decode(s, entry)
			})
		}
		return fields, nil
	}
	whole := fieldOf(s, usesEach(attr.Expr), func(s *scope) []port {
		v, ok := s.value(attr.Expr, what)
		if !ok {
			return nil
		}
		entries, _ := s.entries(v, attr.Expr.Range(), what)
		ports := make([]port, len(entries))
		for i, e := range entries {
			ports[i] = decode(s, e)
		}
		return ports
	})
	return nil, &whole
}

// pair evaluates one entry of an object expression.
func (s *scope) pair(pair hclsyntax.ObjectConsItem, what string) (item, bool) {
	key, keyOK := s.text(pair.KeyExpr, "a name in "+what)
	value, valueOK := s.known(s.raw(pair.ValueExpr))
	return item{key: key, keyAt: pair.KeyExpr.Range(), value: value, at: pair.ValueExpr.Range(), expr: pair.ValueExpr}, keyOK && valueOK
}

// ValidVariable reports whether name can name an environment variable.
func ValidVariable(name string) bool { return variableName.MatchString(name) }

var variableName = lazyregexp.New(`^[A-Za-z_][A-Za-z0-9_]*$`)

// inputPort decodes an entry of inputs.
func (s *scope) inputPort(in *scope, e item) port {
	if name, ok := strings.CutPrefix(e.key, "$"); ok {
		return in.variablePort(e, name)
	}
	at, ok := in.checkPath(e.key, e.keyAt, "Invalid port",
		`port. An input goes to an absolute path such as "/src", or to a variable such as "$NAME"`)
	if in.isMount(e.value) {
		input, mountOK := in.mount(e, at)
		return port{input: input, at: e.keyAt, ok: ok && mountOK}
	}
	from, mode, fromOK := in.from(e, at)
	input := Input{Port: at, From: from, Mode: mode, Filters: in.inputFilters(e), Range: e.keyAt}
	return port{input: input, at: e.keyAt, ok: ok && fromOK}
}

// envPort decodes an entry of env.
func (s *scope) envPort(in *scope, e item) port { return in.variablePort(e, e.key) }

func (s *scope) variablePort(e item, name string) port {
	text, ok := s.textOf(e.value, e.at, "the variable "+s.quote(name))
	if !ValidVariable(name) {
		s.problem(e.keyAt, "Invalid variable name",
			"%s cannot name an environment variable: it has letters, digits and underscores and begins with no digit.", s.quote(name))
		ok = false
	}
	return port{env: EnvVar{Name: name, Value: text}, at: e.keyAt, ok: ok}
}

var modes = []string{string(ReadOnly), string(Overlay)}

// from decodes the value of an input: a ware, or { from = WARE, mode = MODE }.
func (s *scope) from(e item, at string) (Ref, Mode, bool) {
	mode := ReadOnly
	if at == "/" {
		mode = Overlay
	}
	v := e.value
	if !v.IsNull() && v.Type().IsObjectType() && v.Type().HasAttribute("from") {
		for name := range v.Type().AttributeTypes() {
			if name != "from" && name != "mode" && name != "filters" {
				nameAt, _ := e.part(name)
				s.problem(nameAt, "Unknown attribute", "An input has no attribute %s.%s", s.quote(name), didYouMean(name, []string{"from", "mode", "filters"}))
			}
		}
		if v.Type().HasAttribute("mode") {
			_, modeAt := e.part("mode")
			mode = s.mode(v.GetAttr("mode"), modeAt, mode)
		}
		v = v.GetAttr("from")
		_, e.at = e.part("from")
	}
	if v.IsNull() || v.Type() != wareType {
		s.problem(e.at, "Input is not a ware", "The input at %s is %s, and a path takes a ware, such as ware.NAME or step.NAME.OUTPUT.%s",
			s.quote(e.key), describe(v), inputHint(v))
		return Ref{}, mode, false
	}
	return refOf(v), mode, true
}

// inputHint says what to write in place of a value that is nearly right.
func inputHint(v cty.Value) string {
	switch {
	case v.IsNull():
		return ""
	case v.Type() == cty.String:
		return " A plain value goes to a variable port, \"$NAME\"."
	case v.Type().IsObjectType():
		if hint := wholeStep(v); hint != "" {
			return hint
		}
		if v.Type().HasAttribute("mode") {
			return " An object needs the attribute \"from\"."
		}
	}
	return ""
}

// wholeStep says which outputs there are, if v is a step in place of one of them.
func wholeStep(v cty.Value) string {
	if v.IsNull() || !v.Type().IsObjectType() {
		return ""
	}
	var outputs []string
	for name, ty := range v.Type().AttributeTypes() {
		if ty == wareType {
			outputs = append(outputs, name)
		}
	}
	if len(outputs) == 0 {
		return ""
	}
	slices.Sort(outputs)
	return " This is a whole step: name one of its outputs, " + quoteAll(outputs) + "."
}

func (s *scope) mode(v cty.Value, at hcl.Range, fallback Mode) Mode {
	text, ok := s.textOf(v, at, "mode")
	if !ok {
		return fallback
	}
	if !slices.Contains(modes, text) {
		s.problem(at, "Invalid mode", "%s is no mode. An input is mounted \"ro\", read-only, or \"overlay\", writable for this step alone.%s", s.quote(text), suggest(text, modes))
		return fallback
	}
	if fallback == Overlay {
		return Overlay // of "/", whatever is written
	}
	return Mode(text)
}

// each calls use for every port of an instance that has no problem.
func eachPort(s *scope, fields []field[port], whole *field[[]port], use func(port)) {
	for i := range fields {
		if p := fields[i].get(s); p.ok {
			use(p)
		}
	}
	if whole != nil {
		for _, p := range whole.get(s) {
			if p.ok {
				use(p)
			}
		}
	}
}

// ports returns the inputs and the environment of one instance.
func (s *scope) ports(f *stepFields) ([]Input, []EnvVar) {
	inputs := make([]Input, 0, len(f.inputs))
	var places map[string]int // of many inputs, by port
	var env []EnvVar
	var envAt []hcl.Range
	add := func(p port) {
		if p.env.Name == "" {
			if len(inputs) == manyInputs {
				places = placesOf(inputs)
			}
			inputs = s.addInput(inputs, places, p.input)
			return
		}
		if i := slices.IndexFunc(env, func(e EnvVar) bool { return e.Name == p.env.Name }); i >= 0 {
			s.problem(p.at, "Variable set twice", "The variable %s of this step is already set at %s, line %d.", s.quote(p.env.Name), envAt[i].Filename, envAt[i].Start.Line)
			return
		}
		env, envAt = append(env, p.env), append(envAt, p.at)
	}
	eachPort(s, f.inputs, f.wholeIn, add)
	eachPort(s, f.env, f.wholeEnv, add)
	slices.SortFunc(env, func(a, b EnvVar) int { return strings.Compare(a.Name, b.Name) })
	return inputs, env
}

// manyInputs is from where on a map finds a port faster than looking at each.
const manyInputs = 16

func placesOf(inputs []Input) map[string]int {
	places := make(map[string]int)
	for i, in := range inputs {
		places[in.Port] = i
	}
	return places
}

// addInput appends in unless its port is taken.
func (s *scope) addInput(inputs []Input, places map[string]int, in Input) []Input {
	i, taken := places[in.Port]
	if places == nil {
		i = slices.IndexFunc(inputs, func(other Input) bool { return other.Port == in.Port })
		taken = i >= 0
	}
	if taken {
		first := inputs[i].Range
		s.problem(in.Range, "Two inputs at one port", "The port %s of this step already has an input, at %s, line %d.",
			s.quote(in.Port), first.Filename, first.Start.Line)
		return inputs
	}
	if places != nil {
		places[in.Port] = len(inputs)
	}
	return append(inputs, in)
}

// under reports whether p is dir or lies in it. Both are clean.
func under(p, dir string) bool {
	return dir == "/" || p == dir || strings.HasPrefix(p, dir+"/")
}

// owner returns the innermost input that p lies in, or nil.
func owner(inputs []Input, p string) *Input {
	var best *Input
	for i := range inputs {
		if under(p, inputs[i].Port) && (best == nil || len(inputs[i].Port) > len(best.Port)) {
			best = &inputs[i]
		}
	}
	return best
}
