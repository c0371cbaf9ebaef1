package formula

import (
	"fmt"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// scope is where the expressions of one block, or of one instance of it, are
// evaluated and turned into Go values. Each goroutine has its own.
type scope struct {
	m         *module
	around    hcl.Range
	ctx       *hcl.EvalContext
	diags     hcl.Diagnostics
	sensitive bool // a value that must not be shown was used
	skipped   bool // a value was unknown because of an error elsewhere
	failed    bool // a problem was found here
}

func (m *module) scope(around hcl.Range, ctx *hcl.EvalContext) *scope {
	return &scope{m: m, around: around, ctx: ctx}
}

// done hands the scope's diagnostics to the loader.
func (s *scope) done() {
	s.m.l.report(s.diags...)
	s.m.l.skipped = s.m.l.skipped || s.skipped
	s.diags = nil
}

func (s *scope) problem(at hcl.Range, summary, detail string, args ...any) {
	s.failed = true
	s.diags = append(s.diags, problem(at, s.around, summary, detail, args...))
}

// quote quotes a value for a diagnostic, unless it must not be shown.
func (s *scope) quote(value string) string {
	switch {
	case s.sensitive:
		return "the value (sensitive)"
	case len(value) > 100:
		return fmt.Sprintf("%q…", value[:100])
	}
	return fmt.Sprintf("%q", value)
}

// raw evaluates expr. The value may be unknown, null or marked; it is unknown when
// there was an error.
func (s *scope) raw(expr hclsyntax.Expression) (v cty.Value) {
	defer func() {
		if cause := recover(); cause != nil {
			s.problem(expr.Range(), "Expression cannot be evaluated", "Evaluating this expression ended in a panic. This is a bug in kiln.")
			v = cty.DynamicVal
		}
	}()
	v, diags := expr.Value(s.ctx)
	for _, d := range diags {
		s.diags = append(s.diags, s.teach(d, expr))
	}
	if diags.HasErrors() {
		s.failed = true
		return cty.DynamicVal
	}
	return v
}

// teach adds what HCL cannot know to its diagnostic, and takes out what was made from
// a sensitive value: a function's error may quote its arguments.
func (s *scope) teach(d *hcl.Diagnostic, expr hclsyntax.Expression) *hcl.Diagnostic {
	taught := *d
	if taught.Context == nil && taught.Subject != nil {
		around := s.around
		taught.Context = &around
	}
	for _, t := range expr.Variables() {
		v, diags := t.TraverseAbs(s.ctx)
		if diags.HasErrors() {
			v = s.rootValue(t)
		}
		if v != cty.NilVal && v.ContainsMarked() {
			taught.Detail = "The cause is not shown, because the expression uses a sensitive value."
			taught.Expression, taught.EvalContext = nil, nil
			return &taught
		}
	}
	switch {
	case strings.Contains(d.Detail, "panic in function implementation"):
		name, _, _ := strings.Cut(strings.TrimPrefix(d.Detail, `Call to function "`), `"`)
		taught.Detail = fmt.Sprintf("The function %q has no result for these arguments.", name)
	case strings.Contains(d.Detail, errNoText), strings.Contains(d.Detail, "can't marshal ware"):
		taught.Detail = "A ware cannot be encoded." + noTextHint
	case strings.Contains(d.Detail, "have ware"), strings.Contains(d.Detail, "convert ware to"):
		taught.Detail += noTextHint
	}
	return &taught
}

const noTextHint = " A ware has no path and no text: give it a port in the step's inputs and use that path."

// rootValue returns the value of the name that t begins with.
func (s *scope) rootValue(t hcl.Traversal) cty.Value {
	for ctx := s.ctx; ctx != nil; ctx = ctx.Parent() {
		if v, ok := ctx.Variables[t.RootName()]; ok {
			return v
		}
	}
	return cty.NilVal
}

// known takes the marks off v and reports whether it can be used. That it cannot has
// been reported where it became unknown.
func (s *scope) known(v cty.Value) (cty.Value, bool) {
	if v.IsMarked() || !v.Type().IsPrimitiveType() && v.ContainsMarked() {
		s.sensitive = true
		v, _ = v.UnmarkDeep()
	}
	if !v.IsKnown() || !v.Type().IsPrimitiveType() && !v.IsWhollyKnown() {
		s.skipped = true
		return v, false
	}
	return v, true
}

// value evaluates expr to a known value that is not null.
func (s *scope) value(expr hclsyntax.Expression, what string) (cty.Value, bool) {
	v, ok := s.known(s.raw(expr))
	return v, ok && s.notNull(v, expr.Range(), what)
}

func (s *scope) notNull(v cty.Value, at hcl.Range, what string) bool {
	if v.IsNull() {
		s.problem(at, "Null value", "The value of %s is null. Leave it out, or give it a value.", what)
		return false
	}
	return true
}

// text evaluates expr to a string; numbers and bools become strings.
func (s *scope) text(expr hclsyntax.Expression, what string) (string, bool) {
	v, ok := s.value(expr, what)
	if !ok {
		return "", false
	}
	return s.textOf(v, expr.Range(), what)
}

func (s *scope) textOf(v cty.Value, at hcl.Range, what string) (string, bool) {
	if !s.notNull(v, at, what) {
		return "", false
	}
	if v.Type() != cty.String {
		converted, err := convert.Convert(v, cty.String)
		if err != nil || converted.IsNull() {
			hint := ""
			if v.Type() == wareType {
				hint = noTextHint
			}
			s.problem(at, "Wrong type", "The value of %s must be a string, and this is %s.%s", what, describe(v), hint)
			return "", false
		}
		v = converted
	}
	text := v.AsString()
	if strings.IndexByte(text, 0) >= 0 {
		s.problem(at, "NUL in a string", "The value of %s has a NUL character, which no path, argument or variable can hold.", what)
		return "", false
	}
	return text, true
}

// item is one element of a list or an object, with its place.
type item struct {
	key   string // objects
	keyAt hcl.Range
	value cty.Value
	at    hcl.Range
	expr  hclsyntax.Expression // of value, where it is written out
}

// part returns the places of an attribute and its value in an item that is written
// { name = … }; else both are the item's own.
func (e *item) part(name string) (nameAt, valueAt hcl.Range) {
	if cons, ok := e.expr.(*hclsyntax.ObjectConsExpr); ok {
		for _, pair := range cons.Items {
			if key, ok := pair.KeyExpr.(*hclsyntax.ObjectConsKeyExpr); ok && hcl.ExprAsKeyword(key.Wrapped) == name {
				return pair.KeyExpr.Range(), pair.ValueExpr.Range()
			}
		}
	}
	return e.at, e.at
}

// elements takes a list value apart.
func (s *scope) elements(v cty.Value, at hcl.Range, what string) ([]item, bool) {
	ty := v.Type()
	if !ty.IsTupleType() && !ty.IsListType() && !ty.IsSetType() {
		s.problem(at, "Wrong type", "The value of %s must be a list of strings, and this is %s.", what, describe(v))
		return nil, false
	}
	var items []item
	for it := v.ElementIterator(); it.Next(); {
		_, element := it.Element()
		items = append(items, item{value: element, at: at})
	}
	return items, true
}

// entries takes an object or map value apart, sorted by key.
func (s *scope) entries(v cty.Value, at hcl.Range, what string) ([]item, bool) {
	if !v.Type().IsObjectType() && !v.Type().IsMapType() {
		s.problem(at, "Wrong type", "The value of %s must be an object, { NAME = value, … }, and this is %s.", what, describe(v))
		return nil, false
	}
	var items []item
	for it := v.ElementIterator(); it.Next(); {
		key, element := it.Element()
		items = append(items, item{key: key.AsString(), keyAt: at, value: element, at: at})
	}
	return items, true
}
