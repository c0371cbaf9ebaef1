package full

import (
	"encoding/json"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// scalar applies type, enum and const, and the keywords of strings and numbers.
func (x *visit) scalar() {
	if want, ok := x.n.object["type"]; ok {
		x.types(want)
	}
	if want, ok := x.n.object["enum"].([]any); ok && !slices.ContainsFunc(want, func(w any) bool { return equal(w, x.v) }) {
		x.say("enum", oneOf(want))
	}
	if want, ok := x.n.object["const"]; ok && x.n.res.draft >= 6 && !equal(want, x.v) {
		x.say("const", oneOf([]any{want}))
	}
	switch v := x.v.(type) {
	case string:
		x.count("minLength", "maxLength", utf8.RuneCountInString(v))
		if pattern, ok := x.n.object["pattern"].(string); ok && !x.set.regexps[pattern].MatchString(v) {
			x.say("pattern", quote(v)+" does not match pattern "+quote(pattern))
		}
	case json.Number:
		x.bounds(v)
	}
}

// types says that the value is of none of the types in want, a name or a list of names.
func (x *visit) types(want any) {
	names := asList(want)
	if names == nil {
		names = []any{want}
	}
	got := typeOf(x.v)
	var texts []string
	for _, name := range names {
		text, _ := name.(string)
		if text == got || text == "integer" && got == "number" && isWhole(x.v) {
			return
		}
		texts = append(texts, text)
	}
	x.say("type", "got "+got+", want "+strings.Join(texts, " or "))
}

func typeOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case json.Number:
		return "number"
	case string:
		return "string"
	case []any:
		return "array"
	}
	return "object"
}

// count applies a pair of keywords that limit how many there are.
func (x *visit) count(least, most string, got int) {
	if n, ok := x.number(least); ok && got < x.whole(n) {
		x.say(least, sprintf("%s: got %d, want %d", least, got, x.whole(n)))
	}
	if n, ok := x.number(most); ok && got > x.whole(n) {
		x.say(most, sprintf("%s: got %d, want %d", most, got, x.whole(n)))
	}
}

// whole returns a number of the schema as an int, the nearest there is.
func (x *visit) whole(n json.Number) int {
	r := x.set.numbers[n]
	if i := new(big.Int).Quo(r.Num(), r.Denom()); i.IsInt64() {
		return int(i.Int64())
	}
	return math.MaxInt
}

// bounds applies the keywords of numbers.
func (x *visit) bounds(v json.Number) {
	var got *big.Rat
	compare := func(keyword string, broken func(order int) bool) {
		n, ok := x.number(keyword)
		if !ok {
			return
		}
		if got == nil {
			got = rat(v)
		}
		if broken(got.Cmp(x.set.numbers[n])) {
			x.say(keyword, sprintf("%s: got %s, want %s", keyword, short(v), short(n)))
		}
	}
	// Until draft 4, exclusive was a property of the bound and not one itself.
	compare("minimum", func(o int) bool { return o < 0 || o == 0 && x.n.object["exclusiveMinimum"] == true })
	compare("maximum", func(o int) bool { return o > 0 || o == 0 && x.n.object["exclusiveMaximum"] == true })
	compare("exclusiveMinimum", func(o int) bool { return o <= 0 })
	compare("exclusiveMaximum", func(o int) bool { return o >= 0 })
	if n, ok := x.number("multipleOf"); ok && !new(big.Rat).Quo(rat(v), x.set.numbers[n]).IsInt() {
		x.say("multipleOf", sprintf("multipleOf: got %s, want %s", short(v), short(n)))
	}
}

func rat(n json.Number) *big.Rat {
	r, ok := new(big.Rat).SetString(string(n))
	if !ok {
		return new(big.Rat)
	}
	return r
}

func isWhole(v any) bool {
	n, ok := v.(json.Number)
	if !ok {
		return false
	}
	if !strings.ContainsAny(string(n), ".eE") {
		return true
	}
	return rat(n).IsInt()
}

// equal reports whether two values are the same value: 1.0 is 1.
func equal(a, b any) bool {
	switch a := a.(type) {
	case json.Number:
		b, ok := b.(json.Number)
		return ok && (a == b || rat(a).Cmp(rat(b)) == 0)
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, equal)
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, equal)
	}
	switch b.(type) {
	case []any, map[string]any:
		return false
	}
	return a == b
}

// canonical returns a text that two values share only when they are equal.
func canonical(v any) string {
	switch v := v.(type) {
	case json.Number:
		return rat(v).RatString()
	case []any:
		texts := make([]string, len(v))
		for i, item := range v {
			texts[i] = canonical(item)
		}
		return "[" + strings.Join(texts, ",") + "]"
	case map[string]any:
		var b strings.Builder
		for _, name := range slices.Sorted(maps.Keys(v)) {
			b.WriteString("," + strconv.Quote(name) + ":" + canonical(v[name]))
		}
		return "{" + b.String() + "}"
	case string:
		return strconv.Quote(v)
	}
	return show(v)
}

// show writes a scalar as JSON does, strings in their quotes.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case string:
		return quote(v)
	}
	return sprintf("%v", v)
}

// oneOf says which values are wanted.
func oneOf(want []any) string {
	texts := make([]string, len(want))
	for i, w := range want {
		switch w.(type) {
		case []any, map[string]any:
			text, _ := json.Marshal(w)
			texts[i] = string(text)
		default:
			texts[i] = show(w)
		}
	}
	if len(texts) == 1 {
		return "value must be " + texts[0]
	}
	return "value must be one of " + strings.Join(texts, ", ")
}

// short writes a number as it was written, the beginning of a long one.
func short(n json.Number) string {
	if len(n) > 40 {
		return string(n[:40]) + "…"
	}
	return string(n)
}
