package formula

import (
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// outputNames returns the names of b's outputs, which are known without evaluating
// their paths. They are the same for every instance.
func (m *module) outputNames(b *stepBlock) []string {
	if b.kind() == "call" {
		return callAttributes
	}
	attr := b.attr("outputs")
	if attr == nil {
		return nil
	}
	m.l.force(&b.namesNode, func() cty.Value {
		if cons, ok := attr.Expr.(*hclsyntax.ObjectConsExpr); ok {
			if names, ok := literalKeys(cons); ok {
				b.outputList = names
				return cty.True
			}
		}
		b.outputList = m.evaluateNames(b, attr)
		return cty.True
	})
	return b.outputList
}

func literalKeys(cons *hclsyntax.ObjectConsExpr) ([]string, bool) {
	var names []string
	for _, pair := range cons.Items {
		key, ok := pair.KeyExpr.(*hclsyntax.ObjectConsKeyExpr)
		if !ok {
			return nil, false
		}
		name := hcl.ExprAsKeyword(key.Wrapped)
		if name == "" || key.ForceNonLiteral {
			if name, ok = literal(key.Wrapped); !ok {
				return nil, false
			}
		}
		names = append(names, name)
	}
	return sortedUnique(names), true
}

// evaluateNames finds the names of outputs that are not written out, by evaluating
// them for an instance that is not known.
func (m *module) evaluateNames(b *stepBlock, attr *hclsyntax.Attribute) []string {
	ctx := m.context(b.around(), b.attr("for_each") != nil, attr.Expr).NewChild()
	ctx.Variables = eachVariables(cty.UnknownVal(cty.String).RefineNotNull(), cty.DynamicVal)
	s := m.scope(b.around(), ctx)
	v, _ := s.raw(attr.Expr).UnmarkDeep()
	if s.diags.HasErrors() {
		m.l.skipped = true // the instances report it
		b.namesUnknown = true
		return nil
	}
	if !v.IsKnown() || !v.Type().IsObjectType() {
		if m.namesDependOnEach(b, attr, s) {
			s.problem(attr.Expr.Range(), "Output names depend on each",
				"The names of the outputs of %s must be the same for every instance. Write them out, and use each in their paths alone.", b.addr)
			s.done()
		}
		b.namesUnknown = true
		m.l.skipped = true
		return nil
	}
	var list []string
	for name := range v.Type().AttributeTypes() {
		list = append(list, name)
	}
	return sortedUnique(list)
}

// namesDependOnEach reports whether the names become known with the first instance.
func (m *module) namesDependOnEach(b *stepBlock, attr *hclsyntax.Attribute, s *scope) bool {
	if b.attr("for_each") == nil || !usesEach(attr.Expr) {
		return false
	}
	keys, known := m.keys(b)
	if !known || len(keys) == 0 {
		return false
	}
	inner := m.scope(s.around, s.ctx.Parent().NewChild())
	inner.ctx.Variables = keys[0].variables()
	v := inner.raw(attr.Expr)
	return v.IsKnown() && !inner.failed
}
