package formula

import (
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

// Resources are what a step gets at most, and what is set aside for it.
type Resources struct{ Limits, Requests Amounts }

// Amounts of what a machine has. 0: not said.
type Amounts struct {
	CPUs   float64 `json:"cpus,omitempty"`   // cores
	Memory int64   `json:"memory,omitempty"` // bytes
	PIDs   int64   `json:"pids,omitempty"`   // processes and threads
}

var amountNames = []string{"cpus", "memory", "pids"}

// resources prepares the attribute resources: { cpus, memory, pids, requests = { … } }.
func (s *scope) resources(attr *hclsyntax.Attribute) field[Resources] {
	if attr == nil {
		return field[Resources]{}
	}
	return fieldOf(s, usesEach(attr.Expr), func(s *scope) (r Resources) {
		v, ok := s.value(attr.Expr, attr.Name)
		if !ok {
			return r
		}
		whole := item{key: attr.Name, keyAt: attr.NameRange, value: v, at: attr.Expr.Range(), expr: attr.Expr}
		r.Limits = s.amounts(whole, append(slices.Clone(amountNames), "requests"))
		if !v.IsNull() && v.Type().IsObjectType() && v.Type().HasAttribute("requests") {
			_, at := whole.part("requests")
			inner := item{key: "requests", keyAt: at, value: v.GetAttr("requests"), at: at, expr: partExpr(attr.Expr, "requests")}
			r.Requests = s.amounts(inner, amountNames)
		}
		for name, both := range map[string][2]float64{
			"cpus":   {r.Requests.CPUs, r.Limits.CPUs},
			"memory": {float64(r.Requests.Memory), float64(r.Limits.Memory)},
			"pids":   {float64(r.Requests.PIDs), float64(r.Limits.PIDs)},
		} {
			if both[1] > 0 && both[0] > both[1] {
				s.problem(whole.at, "More requested than allowed", "The step requests more %s than it may use at most.", name)
			}
		}
		return r
	})
}

// partExpr is the expression of one attribute of an object as it is written, or nil.
func partExpr(e hclsyntax.Expression, name string) hclsyntax.Expression {
	if cons, ok := e.(*hclsyntax.ObjectConsExpr); ok {
		for _, pair := range cons.Items {
			if key, ok := pair.KeyExpr.(*hclsyntax.ObjectConsKeyExpr); ok && hcl.ExprAsKeyword(key.Wrapped) == name {
				return pair.ValueExpr
			}
		}
	}
	return nil
}

// amounts reads an object of amounts that has the attributes in names at most.
func (s *scope) amounts(e item, names []string) (a Amounts) {
	v := e.value
	if v.IsNull() || !v.Type().IsObjectType() && !v.Type().IsMapType() {
		s.problem(e.at, "Wrong type", "The value of %s is an object such as { cpus = 2, memory = \"1GiB\", pids = 512 }, and this is %s.", e.key, describe(v))
		return a
	}
	values := v.AsValueMap()
	for _, name := range slices.Sorted(maps.Keys(values)) {
		nameAt, at := e.part(name)
		if !slices.Contains(names, name) {
			s.problem(nameAt, "Unknown attribute", "There is no resource %s.%s", s.quote(name), didYouMean(name, names))
			continue
		}
		s.amount(&a, name, values[name], at)
	}
	return a
}

// amount reads one amount.
func (s *scope) amount(a *Amounts, name string, v cty.Value, at hcl.Range) {
	switch name {
	case "requests":
	case "memory":
		if text, ok := s.textOf(v, at, name); ok {
			a.Memory = s.memory(text, at)
		}
	default:
		if v.IsNull() || v.Type() != cty.Number {
			s.problem(at, "Wrong type", "The amount of %s is a number, and this is %s.", name, describe(v))
			return
		}
		n, _ := v.AsBigFloat().Float64()
		whole := n == float64(int64(n))
		if n <= 0 || n > 1<<22 || name == "pids" && !whole || name == "cpus" && n < 0.01 {
			s.problem(at, "Invalid amount", "%v is no number of %s. Write a number above zero%s.", n, name, map[string]string{"cpus": ", such as 0.5", "pids": " without a fraction"}[name])
			return
		}
		if name == "cpus" {
			a.CPUs = n
		} else {
			a.PIDs = int64(n)
		}
	}
}

// runner reads the name of a runner. Which there are, kiln's front end knows.
func (s *scope) runner(text string, at hcl.Range) string {
	if text == "" || strings.IndexFunc(text, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-') }) >= 0 {
		s.problem(at, "Invalid runner", "%s is no name of a runner. Runners are called container, local, docker and the like; kiln runners lists them.", s.quote(text))
		return ""
	}
	return text
}
