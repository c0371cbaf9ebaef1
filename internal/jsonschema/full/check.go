package full

import (
	"encoding/json"
	"maps"
	"slices"
)

// A check is one validation.
type check struct {
	set *set
	err error
}

// A frame is a schema that is being applied: the dynamic scope.
type frame struct {
	n  *node
	at *path
	up *frame
}

// seen is what of an object or array has been evaluated, if that is asked for.
type seen struct {
	names    map[string]bool
	items    map[int]bool
	allItems bool
}

func (s *seen) name(name string) {
	if s.names == nil {
		s.names = map[string]bool{}
	}
	s.names[name] = true
}

func (s *seen) item(i int) {
	if s.items == nil {
		s.items = map[int]bool{}
	}
	s.items[i] = true
}

func (s *seen) add(other seen) {
	for name := range other.names {
		s.name(name)
	}
	for i := range other.items {
		s.item(i)
	}
	s.allItems = s.allItems || other.allItems
}

// A visit is one schema applied to one value.
type visit struct {
	*check
	n     *node
	v     any
	at    *path
	frame *frame
	seen  seen
	found []Violation
}

// value applies a schema to a value.
func (c *check) value(n *node, v any, at *path, up *frame) (seen, []Violation) {
	for f := up; f != nil && f.at == at; f = f.up {
		if f.n == n {
			c.err = ErrLoop
		}
	}
	if c.err != nil {
		return seen{}, nil
	}
	x := &visit{check: c, n: n, v: v, at: at, frame: &frame{n, at, up}}
	if n.object == nil {
		if n.schema == false {
			x.say("", "false schema")
		}
		return seen{}, x.found
	}
	if x.references(); n.alone {
		return x.seen, x.found
	}
	x.scalar()
	switch v := v.(type) {
	case map[string]any:
		x.properties(v)
	case []any:
		x.elements(v)
	}
	x.combinations()
	x.unevaluated()
	if len(x.found) > 0 {
		return seen{}, x.found
	}
	return x.seen, nil
}

// say adds a violation of a keyword.
func (x *visit) say(keyword, message string) {
	if keyword != "" {
		keyword = "/" + keyword
	}
	x.fail([]Violation{{Pointer: x.at.String(), Keyword: x.n.at + keyword, Message: message}})
}

func (x *visit) fail(found []Violation) {
	x.found = append(x.found, found[:min(len(found), MaxViolations-len(x.found))]...)
}

// same applies another schema to the same value, and returns how that is broken.
func (x *visit) same(n *node) []Violation {
	s, found := x.value(n, x.v, x.at, x.frame)
	if len(found) == 0 {
		x.seen.add(s)
	}
	return found
}

// child applies a schema to a part of the value.
func (x *visit) child(n *node, v any, at *path) []Violation {
	_, found := x.value(n, v, at, x.frame)
	return found
}

func (x *visit) references() {
	if to := x.n.refs["$ref"]; to != nil {
		x.fail(x.same(to))
	}
	if to := x.n.refs["$recursiveRef"]; to != nil {
		x.fail(x.same(x.recursive(to)))
	}
	if to := x.n.refs["$dynamicRef"]; to != nil {
		x.fail(x.same(x.dynamic(to)))
	}
}

// recursive returns the outermost resource that wants to stand for to.
func (x *visit) recursive(to *node) *node {
	if to.object["$recursiveAnchor"] != true {
		return to
	}
	for f := x.frame; f != nil; f = f.up {
		if f.n.res.root.object["$recursiveAnchor"] == true {
			to = f.n.res.root
		}
	}
	return to
}

// dynamic returns the outermost schema that has the dynamic anchor by which to was named.
func (x *visit) dynamic(to *node) *node {
	name, _ := to.object["$dynamicAnchor"].(string)
	if ref := x.n.object["$dynamicRef"].(string); name == "" || len(ref) <= len(name) || ref[len(ref)-len(name)-1:] != "#"+name {
		return to
	}
	for f := x.frame; f != nil; f = f.up {
		if other := f.n.res.dynamic[name]; other != nil {
			to = other
		}
	}
	return to
}

// combinations applies what combines schemas.
func (x *visit) combinations() {
	for _, n := range x.n.list["allOf"] {
		x.fail(x.same(n))
	}
	x.any(x.n.list["anyOf"])
	x.exactlyOne(x.n.list["oneOf"])
	if n := x.n.one["not"]; n != nil {
		if _, found := x.value(n, x.v, x.at, x.frame); len(found) == 0 && x.err == nil {
			x.say("not", "'not' failed")
		}
	}
	condition := x.n.one["if"]
	if condition == nil {
		return
	}
	then := x.n.one["then"]
	if len(x.same(condition)) > 0 {
		then = x.n.one["else"]
	}
	if then != nil {
		x.fail(x.same(then))
	}
}

func (x *visit) any(list []*node) {
	var all []Violation
	fits := len(list) == 0
	for _, n := range list {
		found := x.same(n)
		if all = append(all, found...); len(found) == 0 {
			if fits = true; !x.set.track {
				break
			}
		}
	}
	if !fits {
		x.fail(all)
	}
}

func (x *visit) exactlyOne(list []*node) {
	var all []Violation
	fits := -1
	for i, n := range list {
		found := x.same(n)
		switch {
		case len(found) > 0:
			all = append(all, found...)
		case fits >= 0:
			x.say("oneOf", sprintf("'oneOf' failed, subschemas %d, %d matched", fits, i))
			return
		default:
			fits = i
		}
	}
	if fits < 0 && len(list) > 0 {
		x.fail(all)
	}
}

// unevaluated applies the keywords that look at what the others have left.
func (x *visit) unevaluated() {
	if n, object := x.n.one["unevaluatedProperties"], asObject(x.v); n != nil {
		for _, name := range slices.Sorted(maps.Keys(object)) {
			if !x.seen.names[name] {
				x.fail(x.child(n, object[name], x.at.field(name)))
				x.seen.name(name)
			}
		}
	}
	if n, list := x.n.one["unevaluatedItems"], asList(x.v); n != nil && !x.seen.allItems {
		for i, item := range list {
			if !x.seen.items[i] {
				x.fail(x.child(n, item, x.at.item(i)))
			}
		}
		x.seen.allItems = true
	}
}

func asObject(v any) map[string]any { object, _ := v.(map[string]any); return object }

func asList(v any) []any { list, _ := v.([]any); return list }

// number returns the value of a keyword that is a number.
func (x *visit) number(keyword string) (json.Number, bool) {
	n, ok := x.n.object[keyword].(json.Number)
	return n, ok
}
