package formula

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// bodyExprs returns the expressions of a step block that are evaluated in its scope.
func bodyExprs(b *stepBlock) []hclsyntax.Expression {
	var exprs []hclsyntax.Expression
	for name, attr := range b.block.Body.Attributes {
		if name != "for_each" && name != "depends_on" && slices.Contains(schemas["step"].attributes, name) {
			exprs = append(exprs, attr.Expr)
		}
	}
	return exprs
}

// dependsOn reads depends_on: references to steps and modules, which are not
// evaluated. It returns addresses of steps, sorted.
func (m *module) dependsOn(b *stepBlock) []string {
	attr := b.attr("depends_on")
	if attr == nil {
		return nil
	}
	list, diags := hcl.ExprList(attr.Expr)
	if diags.HasErrors() {
		m.l.report(problem(attr.Expr.Range(), b.around(), "Invalid depends_on", "depends_on is a list of references, such as [step.NAME, module.NAME]."))
		return nil
	}
	var addrs []string
	for _, expr := range list {
		t, diags := hcl.AbsTraversalForExpr(expr)
		if diags.HasErrors() || len(t) < 2 {
			m.l.report(problem(expr.Range(), b.around(), "Invalid depends_on", "An element of depends_on is a reference such as step.NAME, step.NAME[\"KEY\"], call.NAME or module.NAME, without calculation."))
			continue
		}
		addrs = append(addrs, m.dependency(b, t)...)
	}
	return sortedUnique(addrs)
}

func (m *module) dependency(b *stepBlock, t hcl.Traversal) []string {
	name, _ := attrName(t[1])
	at := t.SourceRange()
	switch t.RootName() {
	case "step":
		return m.stepDependency(b, t, name, m.steps)
	case "call":
		return m.stepDependency(b, t, name, m.asked)
	case "module":
		c := m.calls[name]
		if c == nil {
			m.l.report(problem(at, b.around(), "Unknown module", "There is no module %q.%s", name, didYouMean(name, names(m.calls))))
			return nil
		}
		return c.module.allSteps()
	}
	m.l.report(problem(at, b.around(), "Invalid depends_on",
		"A step can wait for steps, calls and modules. What it takes from %s it waits for anyhow.", strings.TrimSuffix(t.RootName(), ".")))
	return nil
}

func (m *module) stepDependency(b *stepBlock, t hcl.Traversal, name string, blocks map[string]*stepBlock) []string {
	s := blocks[name]
	if s == nil {
		kind := t.RootName()
		m.l.report(problem(t.SourceRange(), b.around(), "Unknown "+kind, "There is no %s %q.%s", kind, name, didYouMean(name, names(blocks))))
		return nil
	}
	if s.attr("for_each") == nil {
		return []string{s.addr}
	}
	keys, known := m.keys(s)
	if !known {
		return nil
	}
	if len(t) > 2 {
		key, _ := attrName(t[2])
		if _, ok := keys.find(key); !ok {
			m.l.report(problem(t.SourceRange(), b.around(), "Unknown instance", "for_each of %s has no key %q.%s", s.addr, key, didYouMean(key, keys.names())))
			return nil
		}
		return []string{instanceAddr(s.addr, key)}
	}
	addrs := make([]string, len(keys))
	for i := range keys {
		addrs[i] = instanceAddr(s.addr, keys[i].key)
	}
	return addrs
}

// allSteps returns the addresses of every step in m and the modules below it.
func (m *module) allSteps() []string {
	if m == nil {
		return nil
	}
	var addrs []string
	for _, s := range slices.Concat(m.stepOrder, m.askedOrder) {
		if s.attr("for_each") == nil {
			addrs = append(addrs, s.addr)
			continue
		}
		keys, _ := m.keys(s)
		for i := range keys {
			addrs = append(addrs, instanceAddr(s.addr, keys[i].key))
		}
	}
	for _, c := range sortedDecls(m.calls) {
		addrs = append(addrs, c.module.allSteps()...)
	}
	return addrs
}
