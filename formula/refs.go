package formula

import (
	"fmt"
	"strconv"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

var rootNames = []string{"var", "local", "ware", "step", "call", "module", "each"}

// references collects the values that expressions refer to. Only what is named is
// evaluated: `var.x` does not touch var.y.
type references struct {
	m      *module
	around hcl.Range
	each   bool
	named  map[string]map[string]cty.Value     // by root, then name
	broken map[string]cty.Value                // roots that name nothing
	parts  map[*stepBlock]map[string]cty.Value // instances of steps named one by one
	whole  map[*stepBlock]bool                 // steps named as a whole
	bad    map[*stepBlock]bool                 // steps of which something was named that is not there
}

func (r *references) add(t hcl.Traversal) {
	root := t.RootName()
	switch root {
	case "var":
		eachNamed(r, t, r.m.variables, "Unknown variable", "variable", r.m.variable)
	case "local":
		eachNamed(r, t, r.m.locals, "Unknown local", "local", r.m.local)
	case "ware":
		eachNamed(r, t, r.m.wares, "Unknown ware", "ware", func(w *wareBlock) cty.Value {
			return wareValue(Ref{Ware: w.addr})
		})
	case "module":
		eachNamed(r, t, r.m.calls, "Unknown module", "module", func(c *moduleCall) cty.Value {
			return r.moduleOutputs(t, c)
		})
	case "step":
		r.step(t, r.m.steps, r.m.stepOrder)
	case "call":
		r.step(t, r.m.asked, r.m.askedOrder)
	case "function":
		r.problem(t, 2, "Function outside a call", "A function is named by the attribute \"function\" of a call, and what it gives is call.NAME.output.")
		r.breakRoot(root)
	case "each":
		r.addEach(t)
	default:
		r.problem(t, 1, "Unknown name", "Nothing here is called %q. A reference begins with var, local, ware, step, call or module.%s",
			root, suggest(root, rootNames))
		r.breakRoot(root)
	}
}

// suggest is didYouMean without a list of all there is.
func suggest(given string, names []string) string {
	if name := nearest(given, names); name != "" {
		return fmt.Sprintf(" Did you mean %q?", name)
	}
	return ""
}

func (r *references) problem(t hcl.Traversal, parts int, summary, detail string, args ...any) {
	at := t[:min(parts, len(t))].SourceRange()
	r.m.l.report(problem(at, r.around, summary, detail, args...))
}

func (r *references) breakRoot(root string) {
	if r.broken == nil {
		r.broken = make(map[string]cty.Value)
	}
	r.broken[root] = cty.DynamicVal
}

func (r *references) set(root, name string, v cty.Value) {
	if r.named == nil {
		r.named = make(map[string]map[string]cty.Value)
	}
	if r.named[root] == nil {
		r.named[root] = make(map[string]cty.Value)
	}
	r.named[root][name] = v
}

// attrName returns what a step of a traversal selects: `.name` or `["name"]`.
func attrName(step hcl.Traverser) (string, bool) {
	switch s := step.(type) {
	case hcl.TraverseAttr:
		return s.Name, true
	case hcl.TraverseIndex:
		if s.Key.IsKnown() && !s.Key.IsNull() && s.Key.Type() == cty.String {
			return s.Key.AsString(), true
		}
	}
	return "", false
}

// eachNamed adds what t names below one root, or everything there is.
func eachNamed[T declared](r *references, t hcl.Traversal, decls map[string]T, summary, what string, value func(T) cty.Value) {
	root := t.RootName()
	if len(t) == 1 {
		r.set(root, "", cty.NilVal)
		delete(r.named[root], "")
		for _, d := range sortedDecls(decls) {
			r.set(root, d.get().name, value(d))
		}
		return
	}
	name, ok := attrName(t[1])
	if !ok {
		r.problem(t, 2, summary, "A %s is named by an identifier: %s.NAME.", what, root)
		r.breakRoot(root)
		return
	}
	d, ok := decls[name]
	if !ok {
		r.problem(t, 2, summary, "There is no %s %q.%s", what, name, didYouMean(name, names(decls)))
		r.set(root, name, cty.DynamicVal)
		return
	}
	if _, again := r.named[root][name]; again && root != "module" {
		return
	}
	r.set(root, name, value(d))
}

// moduleOutputs returns the outputs of c that have been named so far, as an object.
func (r *references) moduleOutputs(t hcl.Traversal, c *moduleCall) cty.Value {
	if c.module == nil {
		r.m.l.skipped = true
		return cty.DynamicVal
	}
	outputs := c.module.outputs
	attrs := make(map[string]cty.Value)
	if old := r.named["module"][c.name]; old != cty.NilVal {
		if !old.IsKnown() {
			return old
		}
		attrs = old.AsValueMap()
		if attrs == nil {
			attrs = make(map[string]cty.Value)
		}
	}
	if len(t) < 3 {
		for _, o := range sortedDecls(outputs) {
			attrs[o.name] = c.module.output(o)
		}
		return cty.ObjectVal(attrs)
	}
	name, _ := attrName(t[2])
	o, ok := outputs[name]
	if !ok {
		r.problem(t, 3, "Unknown module output", "%s has no output %q.%s", c.addr, name, didYouMean(name, names(outputs)))
		attrs[name] = cty.DynamicVal
		return cty.ObjectVal(attrs)
	}
	if _, ok := attrs[name]; !ok {
		attrs[name] = c.module.output(o)
	}
	return cty.ObjectVal(attrs)
}

func (r *references) addEach(t hcl.Traversal) {
	if !r.each {
		r.problem(t, len(t), "No for_each here", "The name each has a value only inside a step that has for_each.")
		r.breakRoot("each")
		return
	}
	if len(t) == 1 {
		return
	}
	if name, _ := attrName(t[1]); name != "key" && name != "value" {
		r.problem(t, 2, "Unknown attribute of each", "There is each.key and each.value, but no %q.", name)
		r.breakRoot("each")
	}
}

// variables returns what was collected, for an EvalContext.
func (r *references) variables() map[string]cty.Value {
	for s, parts := range r.parts {
		if _, ok := r.named[s.kind()][s.name]; !ok {
			r.set(s.kind(), s.name, cty.ObjectVal(parts))
		}
	}
	for s := range r.bad {
		r.set(s.kind(), s.name, cty.DynamicVal)
	}
	vars := make(map[string]cty.Value, len(r.named)+len(r.broken))
	for root, attrs := range r.named {
		vars[root] = cty.ObjectVal(attrs)
	}
	for root, v := range r.broken {
		vars[root] = v
		r.m.l.skipped = true
	}
	return vars
}

func instanceAddr(step, key string) string { return step + "[" + strconv.Quote(key) + "]" }
