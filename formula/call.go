package formula

import (
	"errors"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/kilnbuild/kiln/internal/jsonschema"
)

// callSteps evaluates a call block into its steps.
func (m *module) callSteps(b *stepBlock) []*Step {
	each := b.attr("for_each") != nil
	keys, known := instanceKeys{{}}, true
	if each {
		keys, known = m.keys(b)
	}
	f := m.calledFunction(b)
	input := b.attr("input")
	if input == nil {
		return nil
	}
	exprs := []hclsyntax.Expression{input.Expr}
	more := b.attr("inputs")
	if more != nil {
		exprs = append(exprs, more.Expr)
	}
	s := m.scope(b.around(), m.context(b.around(), each, exprs...))
	fields := &stepFields{dependsOn: m.dependsOn(b)}
	fields.inputs, fields.wholeIn = s.object(more, "inputs", s.inputPort)
	s.done()
	if !known {
		return nil
	}
	var steps []*Step
	for i := range keys {
		inner := *s
		inner.diags = nil
		addr := b.addr
		if keys[i].key != "" {
			addr = instanceAddr(b.addr, keys[i].key)
			if _, broken := s.ctx.Variables["each"]; !broken {
				inner.ctx = s.ctx.NewChild()
				inner.ctx.Variables = keys[i].variables()
			}
		}
		step := inner.call(b, f, addr, fields)
		inner.done()
		if step == nil && m.l.waiting[len(m.l.waiting)-1] != nil {
			step = &Step{Addr: addr} // a place holder for what is pending
		}
		if step != nil {
			steps = append(steps, step)
		}
	}
	return steps
}

// calledFunction returns the function that a call names, or nil.
func (m *module) calledFunction(b *stepBlock) *Function {
	attr := b.attr("function")
	if attr == nil {
		return nil
	}
	t, diags := hcl.AbsTraversalForExpr(attr.Expr)
	name := ""
	if !diags.HasErrors() && len(t) == 2 && t.RootName() == "function" {
		name, _ = attrName(t[1])
	}
	if name == "" {
		m.l.report(problem(attr.Expr.Range(), b.around(), "Not a function", "The function of a call is a reference, function.NAME, without calculation."))
		return nil
	}
	f := m.callable[name]
	if f == nil {
		m.l.report(problem(attr.Expr.Range(), b.around(), "Unknown function", "There is no function %q.%s", name, didYouMean(name, names(m.callable))))
		return nil
	}
	return m.function(f)
}

// call makes the step of one instance. It is nil when something is not known, or has a
// problem, which was reported.
func (s *scope) call(b *stepBlock, f *Function, addr string, fields *stepFields) *Step {
	input := b.attr("input").Expr
	v, ok := s.known(s.raw(input))
	inputs, env := s.ports(fields)
	if !ok || f == nil || s.failed {
		return nil
	}
	text, err := ctyjson.Marshal(v, v.Type())
	if err != nil {
		hint := ""
		if strings.Contains(err.Error(), "ware") {
			hint = noTextHint
		}
		s.problem(input.Range(), "Input has no JSON", "The input of %s cannot be JSON: a value in it has no text form.%s", addr, hint)
		return nil
	}
	step, err := f.Call(addr, text)
	if err != nil {
		s.misfit(input, f, addr, err)
		return nil
	}
	step.Range, step.Sensitive = b.header(), step.Sensitive || s.sensitive
	step.Outputs[0].Range = b.header()
	step.DependsOn = fields.dependsOn
	s.addInputs(step, inputs, env)
	return step
}

// addInputs adds a call's own inputs to its function's.
func (s *scope) addInputs(step *Step, inputs []Input, env []EnvVar) {
	if len(env) > 0 {
		s.problem(s.around, "Variable in a call", "The inputs of a call are wares. What varies between calls of a function is its input, and its variables are the function's.")
		return
	}
	all := append([]Input(nil), step.Inputs...)
	for _, in := range inputs {
		if in.Mode == Overlay && in.Port != "/" {
			s.problem(in.Range, "Writable input of a function", "The inputs of a call are read-only. What it gives is its output.")
		}
		all = s.addInput(all, nil, in)
	}
	step.Inputs = all
}

// misfit reports that an input does not fit its function's schema, each way at the
// part of the expression that it is about.
func (s *scope) misfit(input hclsyntax.Expression, f *Function, addr string, err error) {
	var violations jsonschema.Violations
	switch {
	case s.sensitive:
		s.problem(input.Range(), "Input does not fit the schema", "The input of %s does not fit schema_in of %s. The cause is not shown, because the input is sensitive.", addr, f.Addr)
		return
	case !errors.As(err, &violations):
		s.problem(input.Range(), "Input does not fit the schema", "The input of %s: %s.", addr, err)
		return
	}
	for _, v := range violations {
		at := v.Pointer
		if at == "" {
			at = "the input"
		}
		s.problem(exprAt(input, v.Pointer).Range(), "Input does not fit the schema", "The input of %s does not fit schema_in of %s: at %s, %s.", addr, f.Addr, at, v.Message)
	}
}

// exprAt returns the part of expr that makes the value at a JSON pointer, as far as it
// is written out.
func exprAt(expr hclsyntax.Expression, pointer string) hclsyntax.Expression {
	for _, part := range strings.Split(pointer, "/")[1:] {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		switch e := expr.(type) {
		case *hclsyntax.ObjectConsExpr:
			for _, pair := range e.Items {
				key, ok := pair.KeyExpr.(*hclsyntax.ObjectConsKeyExpr)
				if !ok {
					continue
				}
				name := hcl.ExprAsKeyword(key.Wrapped)
				if name == "" {
					name, _ = literal(key.Wrapped)
				}
				if name == part {
					expr = pair.ValueExpr
				}
			}
		case *hclsyntax.TupleConsExpr:
			if i, err := strconv.Atoi(part); err == nil && i < len(e.Exprs) {
				expr = e.Exprs[i]
			}
		default:
			return expr
		}
	}
	return expr
}
