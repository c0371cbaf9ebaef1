package formula

import (
	"os"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// maxModules bounds how many module blocks a formula can come to: modules that
// call modules multiply.
const maxModules = 10_000

// loadModule reads the formula file in rel and, below it, the modules it calls.
func (l *loader) loadModule(parent *module, call *moduleCall, rel string) *module {
	m := l.read(rel, call)
	if m == nil {
		return nil
	}
	m.parent, m.call = parent, call
	if call != nil {
		m.prefix = call.addr + "."
	}
	m.ctx = l.moduleContext(m)
	l.modules = append(l.modules, m)
	m.declare()
	for _, c := range sortedDecls(m.calls) {
		m.load(c)
	}
	return m
}

// load reads the module that c calls, if its source is one.
func (m *module) load(c *moduleCall) {
	attr := c.attr("source")
	if attr == nil {
		return
	}
	c.sourceRange = attr.Expr.Range()
	source, ok := literal(attr.Expr)
	if !ok {
		m.l.report(problem(c.sourceRange, c.around(), "Module source is not a literal",
			`A module's source is a plain string such as "./lib", so that modules can be read before anything is evaluated.`))
		return
	}
	if source != "." && source != ".." && !strings.HasPrefix(source, "./") && !strings.HasPrefix(source, "../") {
		m.l.report(problem(c.sourceRange, c.around(), "Unsupported module source",
			`A module is a directory of this formula and its source begins with "./" or "../"; %q does not.`, source))
		return
	}
	rel := path.Join(m.rel, source)
	for caller := m; caller != nil; caller = caller.parent {
		if m.l.sameDir(caller.rel, rel) {
			m.l.report(problem(c.sourceRange, c.around(), "Module contains itself",
				"%s calls the module in %q, which is %s itself: %s.", c.addr, source, moduleName(caller), m.chain(c, caller)))
			return
		}
	}
	if rel == ".." || strings.HasPrefix(rel, "../") {
		m.l.report(problem(c.sourceRange, c.around(), "Module outside the formula's directory",
			"The source %q leads out of the formula's directory. Move the module below it.", source))
		return
	}
	if len(m.l.modules) >= maxModules {
		m.l.report(problem(c.header(), c.around(), "Too many modules", "The formula comes to more than %d modules.", maxModules))
		return
	}
	if c.module = m.l.loadModule(m, c, rel); c.module != nil {
		c.giveArguments()
	}
}

// sameDir reports whether two names below the root module's directory are one
// directory, perhaps through a symlink.
func (l *loader) sameDir(a, b string) bool {
	if a == b {
		return true
	}
	infoA, errA := l.root.Stat(a)
	infoB, errB := l.root.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

func moduleName(m *module) string {
	if m.call == nil {
		return "the formula"
	}
	return m.call.addr
}

// chain writes the calls that lead from one module back to itself.
func (m *module) chain(c *moduleCall, from *module) string {
	path := []string{moduleName(from), c.addr}
	for inner := m; inner != from; inner = inner.parent {
		path = slices.Insert(path, 1, inner.call.addr)
	}
	return strings.Join(path, " → ") + " → " + moduleName(from)
}

// literal returns the string that expr is, if it is one without interpolation.
func literal(expr hclsyntax.Expression) (string, bool) {
	switch e := expr.(type) {
	case *hclsyntax.TemplateExpr:
		if !e.IsStringLiteral() {
			return "", false
		}
	case *hclsyntax.LiteralValueExpr, *hclsyntax.ObjectConsKeyExpr:
	default:
		return "", false
	}
	v, diags := expr.Value(nil)
	if diags.HasErrors() || v.IsNull() || !v.IsKnown() || v.Type() != cty.String {
		return "", false
	}
	return v.AsString(), true
}
