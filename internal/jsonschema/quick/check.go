package quick

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth is how deep a value may be for this package.
const maxDepth = 1000

type checker struct {
	message string
	path    []string // of the problem, innermost first
}

func (c *checker) pointer() string {
	var b strings.Builder
	for i := len(c.path) - 1; i >= 0; i-- {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(c.path[i]))
	}
	return b.String()
}

func (c *checker) invalid(format string, args ...any) Verdict {
	c.message, c.path = fmt.Sprintf(format, args...), c.path[:0]
	return Invalid
}

// and joins the verdicts of things that must all hold.
func and(a, b Verdict) Verdict {
	switch {
	case a == Invalid || b == Invalid:
		return Invalid
	case a == Unsure || b == Unsure:
		return Unsure
	}
	return Valid
}

// check checks one value against one node. s is the shape of v's type; nil with the
// zero Value, which is null.
func (c *checker) check(n *node, v reflect.Value, s *shape, depth int) Verdict {
	for {
		if depth++; depth > maxDepth {
			return Unsure
		}
		if s == nil || (s.form == fPointer || s.form == fInterface) && v.IsNil() {
			return c.rules(n, kNull, n.checkNull(c))
		}
		if s.form == fPointer {
			v, s = v.Elem(), s.elem
			continue
		}
		if s.form != fInterface {
			break
		}
		v = v.Elem()
		s = shapeOf(v.Type())
	}
	if s.form == opaque {
		return Unsure
	}
	if n.never {
		return c.invalid("no value is allowed here")
	}
	verdict := Valid
	if n.unsure {
		verdict = Unsure
	}
	inner, kind := c.value(n, v, s, depth)
	if verdict = c.rules(n, kind, and(verdict, inner)); verdict != Invalid && n.combines() {
		verdict = and(verdict, c.combined(n, v, s, depth))
	}
	return verdict
}

// rules adds what the type says.
func (c *checker) rules(n *node, kind kinds, verdict Verdict) Verdict {
	if n.types == 0 || kind == 0 || verdict == Invalid && n.types&kind != 0 {
		return verdict
	}
	switch {
	case n.types&kind != 0 && (kind != kNumber || n.types&kInteger == 0 || n.types&kNumber != 0):
		return verdict
	case kind == kNumber && n.types&kInteger != 0:
		return and(verdict, Unsure) // it may have no fraction
	}
	return c.invalid("want %v, got %v", n.types, kind)
}

func (n *node) checkNull(c *checker) Verdict {
	switch {
	case n.never:
		return c.invalid("no value is allowed here")
	case n.unsure || n.combines():
		return Unsure
	case n.enum != nil && !n.enum.null:
		return c.invalid("not one of the values allowed")
	}
	return Valid
}

// value checks what concerns a value of one kind.
func (c *checker) value(n *node, v reflect.Value, s *shape, depth int) (Verdict, kinds) {
	switch s.form {
	case fBool:
		if n.enum != nil && !n.enum.bools[btoi(v.Bool())] {
			return c.invalid("not one of the values allowed"), kBool
		}
		return Valid, kBool
	case fString:
		return c.text(n, v.String()), kString
	case fInt:
		i := v.Int()
		return c.number(n, float64(i), i >= -1<<53 && i <= 1<<53, ""), kInteger
	case fUint:
		u := v.Uint()
		return c.number(n, float64(u), u <= 1<<53, ""), kInteger
	case fFloat32, fFloat64:
		f := v.Float()
		switch {
		case math.IsNaN(f) || math.IsInf(f, 0):
			return Unsure, 0
		case s.form == fFloat32 && f != math.Trunc(f) && (n.bounds != nil || n.enum != nil):
			return Unsure, kNumber // its text is not that of the float64
		case f == math.Trunc(f):
			return c.number(n, f, math.Abs(f) <= 1<<53, ""), kInteger
		}
		if n.types&(kInteger|kNumber) == kInteger {
			return c.invalid("want an integer, got a number with a fraction"), 0
		}
		return c.number(n, f, true, ""), kNumber
	case fNumber:
		return c.textNumber(n, v.String())
	case fSlice:
		if v.IsNil() {
			return n.checkNull(c), kNull
		}
		return c.array(n, v, s, depth), kArray
	case fArray:
		return c.array(n, v, s, depth), kArray
	case fMap:
		if v.IsNil() {
			return n.checkNull(c), kNull
		}
		return c.object(n, v, s, depth), kObject
	case fStruct:
		return c.structure(n, v, s, depth), kObject
	}
	return Unsure, 0
}

func (c *checker) text(n *node, text string) Verdict {
	if !utf8.ValidString(text) {
		return Unsure // encoding/json writes something else
	}
	if n.minLen > 0 || n.maxLen != noMax {
		switch length := utf8.RuneCountInString(text); {
		case length < n.minLen:
			return c.invalid("want at least %d characters, got %d", n.minLen, length)
		case length > n.maxLen:
			return c.invalid("want at most %d characters, got %d", n.maxLen, length)
		}
	}
	if n.pattern != nil && !n.pattern.MatchString(text) {
		return c.invalid("does not match the pattern %q", n.pattern)
	}
	if n.enum != nil && !n.enum.strings[text] {
		return c.invalid("not one of the values allowed")
	}
	return Valid
}

// textNumber checks a number that is kept as it was written.
func (c *checker) textNumber(n *node, text string) (Verdict, kinds) {
	if text == "" {
		text = "0" // as encoding/json has it
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !json.Valid([]byte(text)) {
		return Unsure, 0
	}
	kind := kNumber
	if !strings.ContainsAny(text, ".eE") {
		kind = kInteger
	}
	return c.number(n, f, false, text), kind
}

// number checks a number. It is f, or when that is not exact, something that has f
// as its nearest float64. Rounding keeps order, so only where f is a bound's float
// do texts decide.
func (c *checker) number(n *node, f float64, exact bool, text string) Verdict {
	verdict := Valid
	for i := range n.bounds {
		b := &n.bounds[i]
		switch {
		case f == b.float && !(exact && b.exact) && (text == "" || text != b.text):
			verdict = Unsure
		case f == b.float && b.open, b.lower && f < b.float, !b.lower && f > b.float:
			return c.invalid("is outside the bound %s", b.text)
		}
	}
	if n.enum != nil {
		found := Invalid
		for i := range n.enum.numbers {
			if b := &n.enum.numbers[i]; f == b.float {
				if found = Unsure; exact && b.exact || text != "" && text == b.text {
					found = Valid
					break
				}
			}
		}
		if found == Invalid {
			return c.invalid("not one of the values allowed")
		}
		verdict = and(verdict, found)
	}
	return verdict
}

func (c *checker) array(n *node, v reflect.Value, s *shape, depth int) Verdict {
	verdict, length := Valid, v.Len()
	switch {
	case length < n.minItems:
		return c.invalid("want at least %d items, got %d", n.minItems, length)
	case length > n.maxItems:
		return c.invalid("want at most %d items, got %d", n.maxItems, length)
	case n.enum != nil && !n.enum.objects:
		return c.invalid("not one of the values allowed")
	case n.enum != nil:
		verdict = Unsure
	}
	for i := range length {
		item := n.items
		if i < len(n.prefix) {
			item = n.prefix[i]
		}
		got := c.any(item, v.Index(i), s.elem, depth)
		if got == Invalid {
			c.path = append(c.path, strconv.Itoa(i))
			return Invalid
		}
		verdict = and(verdict, got)
	}
	return verdict
}

var everything = &node{maxProps: noMax, maxItems: noMax, maxLen: noMax}

// any is check with a schema that may be missing: texts must still be UTF-8 and
// numbers be numbers.
func (c *checker) any(n *node, v reflect.Value, s *shape, depth int) Verdict {
	if n == nil {
		n = everything
	}
	return c.check(n, v, s, depth)
}

// property returns the schema of a property.
func (n *node) property(name string) *node {
	if p := n.props[name]; p != nil {
		return p
	}
	return n.rest
}

func (c *checker) object(n *node, v reflect.Value, s *shape, depth int) Verdict {
	verdict := c.count(n, v.Len())
	if m, ok := v.Interface().(map[string]any); ok {
		return c.plainObject(n, m, verdict, depth)
	}
	for _, name := range n.required {
		if !v.MapIndex(reflect.ValueOf(name).Convert(v.Type().Key())).IsValid() {
			return c.invalid("the property %q is missing", name)
		}
	}
	for it := v.MapRange(); it.Next() && verdict != Invalid; {
		name := it.Key().String()
		if !utf8.ValidString(name) {
			return Unsure
		}
		verdict = and(verdict, c.member(n, name, it.Value(), s.elem, depth))
	}
	return verdict
}

// plainObject is object without what reflection costs.
func (c *checker) plainObject(n *node, m map[string]any, verdict Verdict, depth int) Verdict {
	for _, name := range n.required {
		if _, ok := m[name]; !ok {
			return c.invalid("the property %q is missing", name)
		}
	}
	for name, value := range m {
		if verdict == Invalid {
			break
		}
		if !utf8.ValidString(name) {
			return Unsure
		}
		v, s := reflect.ValueOf(value), (*shape)(nil)
		if value != nil {
			s = shapeOf(v.Type())
		}
		verdict = and(verdict, c.member(n, name, v, s, depth))
	}
	return verdict
}

func (c *checker) structure(n *node, v reflect.Value, s *shape, depth int) Verdict {
	count, verdict := 0, Valid
	for i := range s.fields {
		f := &s.fields[i]
		value := v.Field(f.index)
		if (f.omitEmpty || f.omitZero) && f.left(value) {
			continue
		}
		count++
		if verdict = and(verdict, c.member(n, f.name, value, f.shape, depth)); verdict == Invalid {
			return Invalid
		}
	}
	for _, name := range n.required {
		i, ok := s.names[name]
		if f := s.fields; !ok || (f[i].omitEmpty || f[i].omitZero) && f[i].left(v.Field(f[i].index)) {
			return c.invalid("the property %q is missing", name)
		}
	}
	return and(verdict, c.count(n, count))
}

func (c *checker) member(n *node, name string, v reflect.Value, s *shape, depth int) Verdict {
	p := n.property(name)
	if p != nil && p.never {
		return c.invalid("the property %q is not allowed", name)
	}
	got := c.any(p, v, s, depth)
	if got == Invalid {
		c.path = append(c.path, name)
	}
	return got
}

func (c *checker) count(n *node, count int) Verdict {
	switch {
	case count < n.minProps:
		return c.invalid("want at least %d properties, got %d", n.minProps, count)
	case count > n.maxProps:
		return c.invalid("want at most %d properties, got %d", n.maxProps, count)
	case n.enum != nil && !n.enum.objects:
		return c.invalid("not one of the values allowed")
	case n.enum != nil:
		return Unsure
	}
	return Valid
}
