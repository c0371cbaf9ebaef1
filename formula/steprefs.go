package formula

import (
	"fmt"
	"slices"

	"github.com/hashicorp/hcl/v2"
	"github.com/zclconf/go-cty/cty"
)

func (r *references) breakStep(s *stepBlock) {
	if r.bad == nil {
		r.bad = make(map[*stepBlock]bool)
	}
	r.bad[s] = true
}

// step adds the step, instance or output that t names, of a step or a call.
func (r *references) step(t hcl.Traversal, blocks map[string]*stepBlock, order []*stepBlock) {
	kind := t.RootName()
	if len(t) == 1 {
		for _, s := range order {
			r.awaitAll(s)
			r.set(kind, s.name, r.m.stepValue(s))
		}
		if len(order) == 0 {
			r.breakRoot(kind)
			r.problem(t, 1, "Unknown "+kind, "The formula has no %ss.", kind)
		}
		return
	}
	name, ok := attrName(t[1])
	s := blocks[name]
	if !ok || s == nil {
		r.problem(t, 2, "Unknown "+kind, "There is no %s %q.%s", kind, name, didYouMean(name, names(blocks)))
		r.set(kind, name, cty.DynamicVal)
		return
	}
	if s.attr("for_each") == nil {
		r.await(s, s.addr, t[2:])
		v := r.m.stepValue(s)
		if len(t) > 2 && !r.hasOutput(t, 2, s, v) {
			r.breakStep(s)
		}
		r.set(kind, name, v)
		return
	}
	r.instance(t, s)
}

// instance adds one instance of s, or all of them where t does not say which.
func (r *references) instance(t hcl.Traversal, s *stepBlock) {
	if r.whole[s] || len(t) == 2 {
		r.addWhole(s)
		return
	}
	key, ok := attrName(t[2])
	if !ok {
		r.problem(t, 3, "Unknown instance", "An instance of %s is named by a string: %s[\"KEY\"].", s.addr, s.addr)
		r.breakStep(s)
		return
	}
	keys, known := r.m.keys(s)
	if !known {
		r.breakStep(s)
		return
	}
	if _, ok := keys.find(key); !ok {
		hint := didYouMean(key, keys.names())
		if slices.Contains(r.m.outputNames(s), key) {
			hint = fmt.Sprintf(" It has for_each, so an output is named %s[KEY].%s.", s.addr, key)
		}
		r.problem(t, 3, "Unknown instance", "for_each of %s has no key %q.%s", s.addr, key, hint)
		r.breakStep(s)
		return
	}
	r.await(s, instanceAddr(s.addr, key), t[3:])
	v := r.m.instanceValue(s, instanceAddr(s.addr, key))
	if len(t) > 3 && !r.hasOutput(t, 3, s, v) {
		r.breakStep(s)
		return
	}
	if r.parts == nil {
		r.parts = make(map[*stepBlock]map[string]cty.Value)
	}
	if r.parts[s] == nil {
		r.parts[s] = make(map[string]cty.Value)
	}
	r.parts[s][key] = v
}

func (r *references) addWhole(s *stepBlock) {
	if r.whole == nil {
		r.whole = make(map[*stepBlock]bool)
	}
	r.whole[s] = true
	r.awaitAll(s)
	r.set(s.kind(), s.name, r.m.stepValue(s))
}

// hasOutput checks that the part of t at index names an output of s.
func (r *references) hasOutput(t hcl.Traversal, index int, s *stepBlock, v cty.Value) bool {
	if !v.IsKnown() {
		return true // reported elsewhere
	}
	name, ok := attrName(t[index])
	if ok && v.Type().HasAttribute(name) {
		return true
	}
	if !ok {
		r.problem(t, index+1, "Unknown output", "%s has no for_each, so it has no instances.", s.addr)
		return false
	}
	outputs := r.m.outputNames(s)
	hint := didYouMean(name, outputs)
	if len(outputs) == 0 {
		hint = " It has no outputs at all."
	}
	r.problem(t, index+1, "Unknown output", "%s has no output %q.%s", s.addr, name, hint)
	return false
}
