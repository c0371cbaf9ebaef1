package warpforge

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"github.com/kilnbuild/kiln/formula"
)

// maxNesting is how many brackets may be open at once. A formula has six, and every
// level of sub-plots adds three.
const maxNesting = 500

// A reader takes a JSON document apart, and notes what is wrong with it. HCL's JSON
// parser knows the place of every value.
type reader struct {
	src   []byte
	diags hcl.Diagnostics
}

// A node is one JSON value.
type node struct {
	expr hcl.Expression
	kind byte // first byte: '{', '[', '"', 't', 'f', 'n' or of a number
	at   hcl.Range
}

// A member is one entry of a JSON object.
type member struct {
	key   Text
	value node
}

func (r *reader) report(at hcl.Range, summary, detail string, args ...any) {
	r.diags = append(r.diags, problem(at, summary, detail, args...))
}

// parse reads src, as one JSON value. It is false when that is not JSON.
func (r *reader) parse(filename string) (node, bool) {
	r.src = bytes.Clone(r.src)
	if bom := []byte("\xef\xbb\xbf"); bytes.HasPrefix(r.src, bom) {
		copy(r.src, "   ")
	}
	if diags := r.prepare(filename); diags != nil {
		r.diags = append(r.diags, diags...)
		return node{}, false
	}
	expr, diags := hcljson.ParseExpression(r.src, filename)
	r.diags = append(r.diags, diags...)
	if diags.HasErrors() {
		return node{}, false
	}
	return r.node(expr), true
}

// prepare refuses what would be unsafe to parse, blanks out commas before a closing
// bracket, which warpforge ignores, and finds where commas are missing, which HCL's
// parser sees too late.
func (r *reader) prepare(filename string) hcl.Diagnostics {
	src := r.src
	if !utf8.Valid(src) {
		at := 0
		for c, n := utf8.DecodeRune(src); c != utf8.RuneError || n > 1; c, n = utf8.DecodeRune(src[at:]) {
			at += n
		}
		return hcl.Diagnostics{problem(rangeAt(src, at, filename), "Not a text file", "The file has the byte 0x%02x, which is not UTF-8.", src[at])}
	}
	var diags hcl.Diagnostics
	depth, last, lastAt := 0, byte(0), 0 // of the token before: its last byte and where that is
	for i := 0; i < len(src); i++ {
		c, begin := src[i], i
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '"':
			i = endOfString(src, i)
		case '{', '[':
			if depth++; depth > maxNesting {
				return hcl.Diagnostics{problem(rangeAt(src, i, filename), "Nested too deeply", "More than %d brackets are open here.", maxNesting)}
			}
		case '}', ']':
			depth--
			if last == ',' {
				src[lastAt] = ' '
			}
		case ',':
			if strings.IndexByte("{[:,\x00", last) >= 0 {
				diags = append(diags, problem(rangeAt(src, i, filename), "Unexpected comma", "There is no value before this comma."))
			}
		case ':':
		default:
			i = endOfWord(src, i)
			if word := src[begin : i+1]; (c == '-' || c >= '0' && c <= '9') && (len(word) > 20 || bytes.ContainsAny(word, "eE")) {
				diags = append(diags, problem(rangeAt(src, begin, filename), "Unexpected number", "A warpforge document holds no such number."))
			}
		}
		if beginsValue(c) && endsValue(last) && depth > 0 {
			diags = append(diags, problem(rangeAt(src, lastAt, filename), "Missing comma", "A comma is missing after this, before what follows at line %d.", rangeAt(src, begin, filename).Start.Line))
		}
		last, lastAt = src[i], i
	}
	return diags
}

// beginsValue and endsValue judge a token by its first and its last byte.
func beginsValue(c byte) bool { return strings.IndexByte("}],:", c) < 0 }
func endsValue(c byte) bool   { return strings.IndexByte("{[,:\x00", c) < 0 }

// endOfWord returns the index of the last byte of a number or a keyword.
func endOfWord(src []byte, i int) int {
	for i+1 < len(src) && strings.IndexByte(" \t\r\n\"{}[],:", src[i+1]) < 0 {
		i++
	}
	return i
}

// endOfString returns the index of the quote that ends the string beginning at i, or
// of the last byte.
func endOfString(src []byte, i int) int {
	for i++; i < len(src) && src[i] != '"'; i++ {
		if src[i] == '\\' {
			i++
		}
	}
	return min(i, len(src)-1)
}

func rangeAt(src []byte, at int, filename string) hcl.Range {
	start := hcl.Pos{Byte: at, Line: 1 + bytes.Count(src[:at], []byte{'\n'}), Column: at - bytes.LastIndexByte(src[:at], '\n')}
	end := start
	end.Byte, end.Column = at+1, start.Column+1
	return hcl.Range{Filename: filename, Start: start, End: end}
}

func (r *reader) node(expr hcl.Expression) node {
	n := node{expr: expr, at: expr.Range()}
	if n.at.Start.Byte < len(r.src) {
		n.kind = r.src[n.at.Start.Byte]
	}
	return n
}

func (n node) what() string {
	switch n.kind {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// wrong reports that what is not what it has to be, such as "a string".
func (r *reader) wrong(n node, what, want string) {
	r.report(n.at, "Wrong type", "%s is %s, and this is %s.", what, want, n.what())
}

// object returns the entries of an object, in the order written.
func (r *reader) object(n node, what string) ([]member, bool) {
	if n.kind != '{' {
		r.wrong(n, what, "an object")
		return nil, false
	}
	pairs, diags := hcl.ExprMap(n.expr)
	if diags.HasErrors() {
		r.diags = append(r.diags, diags...)
		return nil, false
	}
	members := make([]member, 0, len(pairs))
	first := make(map[string]hcl.Range, len(pairs))
	for _, pair := range pairs {
		at := pair.Key.Range()
		key, ok := r.unquote(at)
		if !ok {
			return nil, false
		}
		if before, twice := first[key]; twice {
			r.report(at, "Duplicate name", "%s has %s already, at line %d.", what, quote(key), before.Start.Line)
			continue
		}
		first[key] = at
		members = append(members, member{Text{key, at}, r.node(pair.Value)})
	}
	return members, true
}

// fields returns the entries of an object that may have the names given, of which
// those that end in "!" have to be there.
func (r *reader) fields(n node, what string, names ...string) (map[string]node, bool) {
	members, ok := r.object(n, what)
	if !ok {
		return nil, false
	}
	found := map[string]node{}
	var known []string
	for _, name := range names {
		known = append(known, trimMark(name))
	}
	for _, m := range members {
		isKnown := false
		for _, name := range known {
			isKnown = isKnown || name == m.key.Value
		}
		if !isKnown {
			r.report(m.key.Range, "Unknown attribute", "%s has no %s.%s", what, quote(m.key.Value), formula.DidYouMean(m.key.Value, known))
			continue
		}
		found[m.key.Value] = m.value
	}
	for i, name := range names {
		if _, there := found[known[i]]; !there && name != known[i] {
			r.report(n.start(), "Missing attribute", "%s has to have %q.", what, known[i])
			ok = false
		}
	}
	return found, ok
}

func trimMark(name string) string {
	if name[len(name)-1] == '!' {
		return name[:len(name)-1]
	}
	return name
}

// start is the place of a node's first byte, where all of it would be too much.
func (n node) start() hcl.Range {
	at := n.at
	at.End = at.Start
	at.End.Byte, at.End.Column = at.Start.Byte+1, at.Start.Column+1
	return at
}

func (r *reader) list(n node, what string) ([]node, bool) {
	if n.kind != '[' {
		r.wrong(n, what, "a list")
		return nil, false
	}
	exprs, diags := hcl.ExprList(n.expr)
	if diags.HasErrors() {
		r.diags = append(r.diags, diags...)
		return nil, false
	}
	nodes := make([]node, len(exprs))
	for i, expr := range exprs {
		nodes[i] = r.node(expr)
	}
	return nodes, true
}

func (r *reader) texts(n node, what string) ([]Text, bool) {
	nodes, ok := r.list(n, what)
	texts := make([]Text, len(nodes))
	for i, n := range nodes {
		var one bool
		texts[i], one = r.text(n, fmt.Sprintf("Entry %d of %s", i+1, lowerFirst(what)))
		ok = ok && one
	}
	return texts, ok
}

func (r *reader) text(n node, what string) (Text, bool) {
	if n.kind != '"' {
		r.wrong(n, what, "a string")
		return Text{Range: n.at}, false
	}
	value, ok := r.unquote(n.at)
	return Text{value, n.at}, ok
}

// unquote reads the string at a place. HCL would give it in Unicode's normal form.
func (r *reader) unquote(at hcl.Range) (value string, ok bool) {
	if err := json.Unmarshal(r.src[at.Start.Byte:at.End.Byte], &value); err != nil {
		r.report(at, "Invalid string", "This is no JSON string: %s.", err)
		return "", false
	}
	return value, true
}

func (r *reader) boolean(n node, what string) (value, ok bool) {
	switch text := string(r.src[n.at.Start.Byte:n.at.End.Byte]); text {
	case "true", "false":
		return text == "true", true
	}
	r.wrong(n, what, "true or false")
	return false, false
}
