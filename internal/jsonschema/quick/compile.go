package quick

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A node is one schema. Its zero value accepts everything.
type node struct {
	unsure   bool // it has a keyword that is not known here
	never    bool // the schema false
	types    kinds
	props    map[string]*node
	required []string
	rest     *node // additionalProperties
	minProps int
	maxProps int
	prefix   []*node
	items    *node
	minItems int
	maxItems int
	minLen   int
	maxLen   int
	pattern  *regexp.Regexp
	bounds   []bound
	enum     *enum
	all      []*node // allOf and $ref
	any, one []*node
	not      *node
}

const noMax = int(^uint(0) >> 1)

// A bound is minimum and the like.
type bound struct {
	number
	lower, open bool
}

// A number is one of the schema's: the nearest float64, and whether text is what
// that float64 is written as.
type number struct {
	text  string
	float float64
	exact bool
}

// An enum holds the values of enum or const.
type enum struct {
	strings map[string]bool
	numbers []number
	null    bool
	bools   [2]bool
	objects bool // there are objects or arrays
}

// draft is the only dialect this package knows: the default.
const draft = "https://json-schema.org/draft/2020-12/schema"

// annotations say nothing about validity.
var annotations = []string{
	"$schema", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "readOnly", "writeOnly",
	"deprecated", "format", "contentEncoding", "contentMediaType", "contentSchema",
}

type compiler struct {
	doc  any
	refs map[string]*node
}

// Compile makes a program of a schema: one that is valid, decoded by encoding/json
// with numbers as json.Number.
func Compile(schema any) *Program {
	if object, ok := schema.(map[string]any); ok {
		if dialect, ok := object["$schema"]; ok && dialect != draft && dialect != draft+"#" {
			return &Program{}
		}
	}
	c := compiler{doc: schema, refs: map[string]*node{}}
	root := c.refTo("#")
	if root == nil || loops(root, map[*node]int{}) {
		return &Program{}
	}
	return &Program{root: root}
}

// refTo returns the node of a reference within the schema, or nil.
func (c *compiler) refTo(ref string) *node {
	if n := c.refs[ref]; n != nil {
		return n
	}
	at := c.doc
	path, ok := strings.CutPrefix(ref, "#")
	if !ok || strings.Contains(path, "%") || path != "" && path[0] != '/' {
		return nil
	}
	for _, part := range strings.Split(path, "/")[1:] {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		object, ok := at.(map[string]any)
		if !ok {
			return nil
		}
		if at, ok = object[part]; !ok {
			return nil
		}
	}
	n := &node{}
	c.refs[ref] = n
	c.fill(n, at, ref == "#")
	return n
}

func (c *compiler) compile(schema any) *node {
	n := &node{}
	c.fill(n, schema, false)
	return n
}

func (c *compiler) fill(n *node, schema any, root bool) {
	n.maxProps, n.maxItems, n.maxLen = noMax, noMax, noMax
	if b, ok := schema.(bool); ok {
		n.never = !b
		return
	}
	object, ok := schema.(map[string]any)
	if !ok {
		n.unsure = true
		return
	}
	for keyword, value := range object {
		if !c.keyword(n, keyword, value) && !slices.Contains(annotations, keyword) && !(root && keyword == "$id") {
			n.unsure = true
		}
	}
	if !root && object["$schema"] != nil {
		n.unsure = true
	}
}

// keyword takes one keyword into n and reports whether it could.
func (c *compiler) keyword(n *node, name string, value any) bool {
	ok := true
	switch name {
	case "type":
		n.types, ok = typesOf(value)
	case "properties":
		var schemas map[string]any
		if schemas, ok = value.(map[string]any); ok {
			n.props = make(map[string]*node, len(schemas))
			for name, schema := range schemas {
				n.props[name] = c.compile(schema)
			}
		}
	case "required":
		n.required, ok = textsOf(value)
	case "additionalProperties":
		n.rest = c.compile(value)
	case "minProperties":
		n.minProps, ok = countOf(value)
	case "maxProperties":
		n.maxProps, ok = countOf(value)
	case "prefixItems":
		n.prefix, ok = c.list(value)
	case "items":
		n.items = c.compile(value)
	case "minItems":
		n.minItems, ok = countOf(value)
	case "maxItems":
		n.maxItems, ok = countOf(value)
	case "uniqueItems":
		return value == false
	case "minLength":
		n.minLen, ok = countOf(value)
	case "maxLength":
		n.maxLen, ok = countOf(value)
	case "pattern":
		text, _ := value.(string)
		re, err := regexp.Compile(text)
		n.pattern, ok = re, err == nil
	case "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum":
		b := bound{lower: strings.HasSuffix(name, "inimum"), open: strings.HasPrefix(name, "exclusive")}
		if b.number, ok = numberOf(value); ok {
			n.bounds = append(n.bounds, b)
		}
	case "enum":
		var list []any
		if list, ok = value.([]any); ok {
			ok = n.addEnum(list)
		}
	case "const":
		ok = n.addEnum([]any{value})
	case "allOf":
		var list []*node
		list, ok = c.list(value)
		n.all = append(n.all, list...)
	case "$ref":
		text, _ := value.(string)
		target := c.refTo(text)
		if ok = target != nil; ok {
			n.all = append(n.all, target)
		}
	case "anyOf":
		n.any, ok = c.list(value)
	case "oneOf":
		n.one, ok = c.list(value)
	case "not":
		n.not = c.compile(value)
	default:
		return false
	}
	return ok
}

func (c *compiler) list(value any) ([]*node, bool) {
	schemas, ok := value.([]any)
	nodes := make([]*node, len(schemas))
	for i, schema := range schemas {
		nodes[i] = c.compile(schema)
	}
	return nodes, ok
}

func typesOf(value any) (kinds, bool) {
	names, ok := textsOf(value)
	if text, one := value.(string); one {
		names, ok = []string{text}, true
	}
	var set kinds
	for _, name := range names {
		set |= kindNames[name]
	}
	return set, ok && set != 0
}

func textsOf(value any) ([]string, bool) {
	list, ok := value.([]any)
	texts := make([]string, len(list))
	for i, v := range list {
		text, isText := v.(string)
		texts[i], ok = text, ok && isText
	}
	return texts, ok
}

func countOf(value any) (int, bool) {
	text, _ := value.(json.Number)
	n, err := strconv.Atoi(string(text))
	return n, err == nil
}

func numberOf(value any) (number, bool) {
	text, _ := value.(json.Number)
	f, err := strconv.ParseFloat(string(text), 64)
	n := number{text: string(text), float: f}
	n.exact = n.text == strconv.FormatFloat(f, 'f', -1, 64) && n.text != "-0"
	return n, err == nil
}

func (n *node) addEnum(list []any) bool {
	if n.enum != nil {
		return false // enum and const at once
	}
	e := &enum{strings: map[string]bool{}}
	n.enum = e
	for _, v := range list {
		switch v := v.(type) {
		case nil:
			e.null = true
		case bool:
			e.bools[btoi(v)] = true
		case string:
			e.strings[v] = true
		case json.Number:
			number, ok := numberOf(v)
			if !ok {
				return false
			}
			e.numbers = append(e.numbers, number)
		default:
			e.objects = true
		}
	}
	return true
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// loops reports whether a schema applies itself to the same value again, which
// would never end.
func loops(n *node, seen map[*node]int) bool {
	const entered, left = 1, 2
	if n == nil || seen[n] == left {
		return false
	}
	if seen[n] == entered {
		return true
	}
	seen[n] = entered
	for _, list := range [][]*node{n.all, n.any, n.one, {n.not}} {
		for _, inner := range list {
			if loops(inner, seen) {
				return true
			}
		}
	}
	seen[n] = left
	for _, list := range [][]*node{n.prefix, {n.items, n.rest}} {
		for _, inner := range list {
			if loops(inner, seen) {
				return true
			}
		}
	}
	for _, inner := range n.props {
		if loops(inner, seen) {
			return true
		}
	}
	return false
}
