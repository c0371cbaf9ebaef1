package formula

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

type variable struct {
	decl
	given *given // nil: the default counts
}

// variable returns v's value, converted to its type, marked when it is sensitive.
func (m *module) variable(v *variable) cty.Value {
	return m.l.force(&v.node, func() cty.Value {
		ty, defaults, ok := m.variableType(v)
		hidden := m.isSensitive(v)
		if attr := v.attr("description"); attr != nil {
			m.literalString(v.around(), attr)
		}
		standard := m.defaultValue(v, ty, defaults)
		value := standard
		switch {
		case !ok:
			return cty.DynamicVal
		case v.given != nil:
			value = m.givenValue(v, ty, defaults, hidden)
		case v.attr("default") == nil:
			m.reportMissing(v)
			return cty.DynamicVal
		}
		if hidden {
			value = value.Mark(sensitive)
		}
		return value
	})
}

func (m *module) variableType(v *variable) (cty.Type, *typeexpr.Defaults, bool) {
	attr := v.attr("type")
	if attr == nil {
		return cty.DynamicPseudoType, nil, true
	}
	ty, defaults, diags := typeexpr.TypeConstraintWithDefaults(attr.Expr)
	for _, d := range diags {
		around := v.around()
		d.Context = &around
		m.l.report(d)
	}
	return ty, defaults, !diags.HasErrors()
}

func (m *module) isSensitive(v *variable) bool {
	attr := v.attr("sensitive")
	if attr == nil {
		return false
	}
	value, diags := attr.Expr.Value(nil)
	if diags.HasErrors() || !value.IsKnown() || value.IsNull() || value.Type() != cty.Bool {
		m.l.report(problem(attr.Expr.Range(), v.around(), "Not a plain bool", "The attribute \"sensitive\" is true or false, without references."))
		return true
	}
	return value.True()
}

// defaultValue evaluates the default, which may call functions but refers to nothing.
func (m *module) defaultValue(v *variable, ty cty.Type, defaults *typeexpr.Defaults) cty.Value {
	attr := v.attr("default")
	if attr == nil {
		return cty.DynamicVal
	}
	if vars := attr.Expr.Variables(); len(vars) > 0 {
		m.l.report(problem(vars[0].SourceRange(), v.around(), "Reference in a default",
			"The default of a variable refers to nothing else. Use a local for what is made from other values."))
		return cty.DynamicVal
	}
	s := m.scope(v.around(), m.ctx)
	value := s.raw(attr.Expr)
	s.done()
	return m.convert(v, value, ty, defaults, attr.Expr.Range(), "The default")
}

func (m *module) convert(v *variable, value cty.Value, ty cty.Type, defaults *typeexpr.Defaults, at hcl.Range, what string) cty.Value {
	if defaults != nil && !value.IsNull() {
		value = defaults.Apply(value)
	}
	converted, err := convert.Convert(value, ty)
	if err != nil {
		around := v.around()
		if m.call != nil && at.Filename != around.Filename {
			around = m.call.around()
		}
		cause := typeError(err)
		if m.isSensitive(v) || value.ContainsMarked() {
			cause = "the cause is not shown, because the value is sensitive"
		}
		m.l.report(problem(at, around, "Wrong type", "%s of the variable %q does not fit its type: %s.", what, v.name, cause))
		return cty.DynamicVal
	}
	return converted
}

// typeError writes a conversion error with the path to the element that is wrong.
func typeError(err error) string {
	pathErr, ok := err.(cty.PathError)
	if !ok || len(pathErr.Path) == 0 {
		return err.Error()
	}
	var at strings.Builder
	for _, step := range pathErr.Path {
		switch step := step.(type) {
		case cty.GetAttrStep:
			fmt.Fprintf(&at, ".%s", step.Name)
		case cty.IndexStep:
			switch {
			case !step.Key.IsKnown() || step.Key.IsMarked():
				at.WriteString("[…]")
			case step.Key.Type() == cty.String:
				fmt.Fprintf(&at, "[%q]", step.Key.AsString())
			case step.Key.Type() == cty.Number:
				fmt.Fprintf(&at, "[%s]", step.Key.AsBigFloat().Text('f', -1))
			}
		}
	}
	return fmt.Sprintf("at %s, %s", strings.TrimPrefix(at.String(), "."), err)
}

func (m *module) reportMissing(v *variable) {
	if m.call != nil {
		m.l.report(problem(m.call.header(), m.call.around(), "Missing module argument",
			"The module in %q has a variable %q without a default: give it a value with %s = ….", m.rel, v.name, v.name))
		return
	}
	m.l.report(problem(v.header(), v.around(), "Missing variable",
		"The variable %q has no default and no value was given. Give one with --var %s=…, in a --var-file, or in the environment as %s%s.",
		v.name, v.name, EnvPrefix, v.name))
}

// validate checks the conditions of v's validation blocks.
func (m *module) validate(v *variable) {
	for _, block := range v.block.Body.Blocks {
		condition, message := block.Body.Attributes["condition"], block.Body.Attributes["error_message"]
		if block.Type != "validation" || condition == nil || message == nil {
			continue
		}
		s := m.scope(v.around(), m.context(v.around(), false, condition.Expr, message.Expr))
		if holds, ok := s.value(condition.Expr, "condition"); ok {
			m.judge(s, v, holds, condition, message)
		}
		s.done()
	}
}

func (m *module) judge(s *scope, v *variable, holds cty.Value, condition, message *hclsyntax.Attribute) {
	if holds.Type() != cty.Bool {
		s.problem(condition.Expr.Range(), "Wrong type", "A condition is true or false, and this is %s.", describe(holds))
		return
	}
	hidden := s.sensitive
	s.sensitive = false
	text, ok := s.text(message.Expr, "error_message")
	if holds.True() || !ok {
		return
	}
	if s.sensitive {
		text = "The message is not shown, because it was made from a sensitive value."
	}
	s.sensitive = hidden
	at, where := condition.Expr.Range(), ""
	if v.given != nil && v.given.expr != nil {
		where = fmt.Sprintf(" The value is given at %s, line %d.", v.given.at.Filename, v.given.at.Start.Line)
	}
	s.problem(at, "Invalid value for a variable", "%s", fmt.Sprintf("The variable %q: %s%s", v.name, text, where))
}
