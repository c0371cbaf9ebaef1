package formula

import (
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// maxChain bounds how long a chain of references may be: evaluation follows it on
// the stack.
const maxChain = 10_000

// node is something evaluated once, when it is first asked for.
type node struct {
	addr   string
	at     hcl.Range // where it is named
	around hcl.Range // its block
	state  nodeState
	value  cty.Value
	awaits awaits // calls without whose outputs value is not known
}

type nodeState uint8

const (
	untouched nodeState = iota
	evaluating
	evaluated
)

// force returns n's value, which eval makes the first time. When n is already being
// evaluated the references go in a circle; its value is unknown then.
func (l *loader) force(n *node, eval func() cty.Value) cty.Value {
	switch {
	case n.state == evaluated:
		l.await(n.awaits)
		return n.value
	case n.state == evaluating:
		l.reportCycle(n)
		return cty.DynamicVal
	case len(l.stack) >= maxChain:
		l.report(problem(n.at, n.around, "Chain of references too long",
			"More than %d definitions, each made from the next, lead to %s.", maxChain, n.addr))
		n.state, n.value = evaluated, cty.DynamicVal
		return n.value
	}
	n.state = evaluating
	l.stack = append(l.stack, n)
	var value cty.Value
	n.awaits = l.awaited(func() { value = eval() })
	l.stack = l.stack[:len(l.stack)-1]
	l.await(n.awaits)
	n.state, n.value = evaluated, value
	return value
}

func (l *loader) reportCycle(n *node) {
	start := slices.Index(l.stack, n)
	var path []string
	for _, other := range l.stack[start:] {
		path = append(path, other.addr)
	}
	l.report(problem(n.at, n.around, "Cycle of references",
		"%s is made from itself: %s. Break the circle at one of them.", n.addr, cyclePath(path)))
}

// cyclePath writes a → b → a. Of a long one it leaves out the middle.
func cyclePath(path []string) string {
	if len(path) > 20 {
		path = slices.Concat(path[:10], []string{"…"}, path[len(path)-9:])
	}
	return strings.Join(append(slices.Clone(path), path[0]), " → ")
}

// context returns what exprs may refer to, with every reference evaluated; those
// that name nothing are reported and stand for an unknown value. With each, the
// name `each` is left for the context of an instance.
func (m *module) context(around hcl.Range, each bool, exprs ...hclsyntax.Expression) *hcl.EvalContext {
	r := references{m: m, around: around, each: each}
	for _, expr := range exprs {
		for _, t := range expr.Variables() {
			r.add(t)
		}
	}
	ctx := m.ctx.NewChild()
	ctx.Variables = r.variables()
	return ctx
}

// evaluate evaluates everything that every module declares, so that all of it is
// checked, and collects the results.
func (l *loader) evaluate(f *Formula) {
	for _, m := range l.modules {
		for _, v := range sortedDecls(m.variables) {
			m.variable(v)
		}
		for _, v := range sortedDecls(m.variables) {
			l.awaited(func() { m.validate(v) })
		}
		for _, name := range sortedDecls(m.locals) {
			m.local(name)
		}
		for _, w := range sortedDecls(m.wares) {
			l.block(&w.decl, func() {
				if ware, ok := m.ware(w); ok {
					f.Wares = append(f.Wares, ware)
				}
			}, func() {})
		}
		for _, w := range sortedDecls(m.warehouses) {
			if place, ok := m.warehouse(w); ok {
				f.Warehouses = append(f.Warehouses, place)
			}
		}
		for _, d := range sortedDecls(m.callable) {
			if function := m.function(d); function != nil {
				f.Functions = append(f.Functions, function)
			}
		}
		for _, s := range slices.Concat(m.stepOrder, m.askedOrder) {
			var steps []*Step
			l.block(&s.decl, func() {
				if s.kind() == "call" {
					steps = m.callSteps(s)
				} else {
					steps = m.instances(s)
				}
			}, func() { steps = l.allPending(&s.decl, steps) })
			f.Steps = append(f.Steps, steps...)
		}
		for _, o := range m.outputOrder {
			if m.parent != nil {
				l.awaited(func() {
					m.output(o)
					m.image(o) // which counts only where this is the root, but is checked
				})
				continue
			}
			before := len(f.Outputs)
			l.block(&o.decl, func() { m.rootOutput(f, o, m.output(o)) }, func() { f.Outputs = f.Outputs[:before] })
		}
	}
	slices.SortFunc(f.Wares, func(a, b *Ware) int { return strings.Compare(a.Addr, b.Addr) })
	slices.SortFunc(f.Functions, func(a, b *Function) int { return strings.Compare(a.Addr, b.Addr) })
	f.Steps = l.sortSteps(f.Steps)
	l.spreadPending(f)
}

// Limits on the value of a local, so that locals that double each other end before the
// memory does.
const (
	maxText     = 32 << 20 // bytes
	maxElements = 1_000_000
)

func tooLarge(v cty.Value) bool {
	switch {
	case !v.IsKnown() || v.IsNull():
		return false
	case v.Type() == cty.String:
		return len(v.AsString()) > maxText
	case v.CanIterateElements():
		return v.LengthInt() > maxElements
	}
	return false
}

func (m *module) local(d *local) cty.Value {
	return m.l.force(&d.node, func() cty.Value {
		v := m.value(d.attribute.SrcRange, d.attribute.Expr)
		if plain, _ := v.Unmark(); tooLarge(plain) {
			m.l.report(problem(d.attribute.Expr.Range(), d.attribute.SrcRange, "Value too large",
				"The value of %s has more than %d MiB of text or %d elements.", d.addr, maxText>>20, maxElements))
			return cty.DynamicVal
		}
		return v
	})
}

func (m *module) output(d *outputBlock) cty.Value {
	return m.l.force(&d.node, func() cty.Value {
		if attr := d.attr("description"); attr != nil {
			m.literalString(d.around(), attr)
		}
		attr := d.attr("value")
		if attr == nil {
			return cty.DynamicVal
		}
		return m.value(d.around(), attr.Expr)
	})
}

// rootOutput adds an output block of the root module to f. Its value is a ware.
func (m *module) rootOutput(f *Formula, o *outputBlock, value cty.Value) {
	image := m.image(o)
	s := m.scope(o.around(), m.ctx)
	if value, ok := s.known(value); ok {
		at := o.attr("value").Expr.Range()
		if value.IsNull() || value.Type() != wareType {
			s.problem(at, "Output is not a ware",
				"The output %q is %s. A formula's outputs are wares, such as step.NAME.OUTPUT.%s", o.name, describe(value), m.outputHint(o))
		} else {
			f.Outputs = append(f.Outputs, &Output{
				Name: o.name, Description: m.description(o), From: refOf(value), Image: image, Range: o.header(),
			})
		}
	}
	s.done()
}

// outputHint names the one output of the step that o's value is, when it is a whole step.
func (m *module) outputHint(o *outputBlock) string {
	t, diags := hcl.AbsTraversalForExpr(o.attr("value").Expr)
	if diags.HasErrors() || len(t) != 2 || t.RootName() != "step" {
		return ""
	}
	name, _ := attrName(t[1])
	return m.wholeStepHint(name)
}

func (m *module) description(o *outputBlock) string {
	if attr := o.attr("description"); attr != nil {
		text, _ := literal(attr.Expr)
		return text
	}
	return ""
}

// value evaluates expr, which belongs to no instance.
func (m *module) value(around hcl.Range, expr hclsyntax.Expression) cty.Value {
	s := m.scope(around, m.context(around, false, expr))
	v := s.raw(expr)
	s.done()
	return v
}

// literalString reads an attribute that must be a plain string.
func (m *module) literalString(around hcl.Range, attr *hclsyntax.Attribute) string {
	text, ok := literal(attr.Expr)
	if !ok {
		m.l.report(problem(attr.Expr.Range(), around, "Not a plain string", "The attribute %q is a plain string, without references.", attr.Name))
	}
	return text
}
