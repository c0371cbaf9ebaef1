package formula

import (
	"github.com/bmatcuk/doublestar/v4"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
)

func validPattern(pattern string) bool { return doublestar.ValidatePattern(pattern) }

// field is a part of a block that is the same for all of its instances, or is
// decoded for each of them.
type field[T any] struct {
	decode func(*scope) T
	each   bool
	value  T
}

// fieldOf makes a field. One that does not depend on `each` is decoded now, in s.
func fieldOf[T any](s *scope, each bool, decode func(*scope) T) field[T] {
	f := field[T]{decode: decode, each: each}
	if !each {
		f.value = decode(s)
	}
	return f
}

func (f *field[T]) get(s *scope) T {
	if f.each {
		return f.decode(s)
	}
	return f.value
}

// usesEach reports whether expr depends on the instance.
func usesEach(expr hclsyntax.Expression) bool {
	for _, t := range expr.Variables() {
		if t.RootName() == "each" {
			return true
		}
	}
	return false
}

// listField is an attribute that is a list of strings.
type listField struct {
	what  string
	items []field[listItem] // written as [a, b]
	whole *field[wholeItems]
	each  bool
	texts []string    // when no item depends on each
	ats   []hcl.Range // of the items
	ok    bool        // of texts
}

type wholeItems struct {
	items []listItem
	ok    bool
}

type listItem struct {
	text string
	at   hcl.Range
	ok   bool
}

// list prepares attr as a list of strings; with single, a string is a list of one.
func (s *scope) list(attr *hclsyntax.Attribute, single bool) *listField {
	f := &listField{what: attr.Name}
	if tuple, ok := attr.Expr.(*hclsyntax.TupleConsExpr); ok {
		for _, expr := range tuple.Exprs {
			each := usesEach(expr)
			f.each = f.each || each
			f.ats = append(f.ats, expr.Range())
			f.items = append(f.items, fieldOf(s, each, func(s *scope) listItem {
				text, ok := s.text(expr, "an element of "+attr.Name)
				return listItem{text: text, at: expr.Range(), ok: ok}
			}))
		}
	} else {
		whole := fieldOf(s, usesEach(attr.Expr), func(s *scope) wholeItems { return s.wholeList(attr, single) })
		f.whole, f.each = &whole, whole.each
	}
	if !f.each {
		f.texts, f.ats, f.ok = f.collect(s)
	}
	return f
}

func (s *scope) wholeList(attr *hclsyntax.Attribute, single bool) wholeItems {
	v, ok := s.value(attr.Expr, attr.Name)
	if !ok {
		return wholeItems{}
	}
	at := attr.Expr.Range()
	if single && v.Type() == cty.String {
		text, ok := s.textOf(v, at, attr.Name)
		return wholeItems{items: []listItem{{text: text, at: at, ok: ok}}, ok: ok}
	}
	elements, allOK := s.elements(v, at, attr.Name)
	var items []listItem
	for _, e := range elements {
		text, ok := s.textOf(e.value, at, "an element of "+attr.Name)
		items = append(items, listItem{text: text, at: at, ok: ok})
		allOK = allOK && ok
	}
	return wholeItems{items: items, ok: allOK}
}

// get returns the strings and their places, and false when an element has a problem.
func (f *listField) get(s *scope) ([]string, []hcl.Range, bool) {
	if !f.each {
		return f.texts, f.ats, f.ok
	}
	return f.collect(s)
}

func (f *listField) collect(s *scope) ([]string, []hcl.Range, bool) {
	if f.whole != nil {
		whole := f.whole.get(s)
		texts, ats := make([]string, 0, len(whole.items)), make([]hcl.Range, 0, len(whole.items))
		for _, item := range whole.items {
			texts, ats = append(texts, item.text), append(ats, item.at)
		}
		return texts, ats, whole.ok
	}
	texts := make([]string, 0, len(f.items))
	for i := range f.items {
		if item := f.items[i].get(s); item.ok {
			texts = append(texts, item.text)
		}
	}
	return texts, f.ats[:len(texts)], len(texts) == len(f.items)
}
