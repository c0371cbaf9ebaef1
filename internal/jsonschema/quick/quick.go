// Package quick checks Go values against JSON Schemas without making JSON of them.
// It knows the common keywords and answers Unsure where it knows less: package
// jsonschema then asks a complete validator, whose word is the last.
package quick

import "reflect"

// A Verdict is what a check found.
type Verdict int8

// The verdicts. Valid and Invalid are what a complete validator would say.
const (
	Unsure Verdict = iota
	Valid
	Invalid
)

// A Problem says where and why a value is invalid.
type Problem struct {
	Pointer string // JSON pointer into the value; "" is all of it
	Message string // "want a string, got a number"
}

// A Program is a compiled schema. It is safe for concurrent use.
type Program struct{ root *node }

// Check checks v, which may be of any type that encoding/json can marshal. It
// allocates nothing when a value is valid. The problem is set with Invalid.
func (p *Program) Check(v any) (Verdict, *Problem) {
	if p.root == nil {
		return Unsure, nil
	}
	value := reflect.ValueOf(v)
	c := checker{}
	var shape *shape
	if value.IsValid() {
		shape = shapeOf(value.Type())
	}
	verdict := c.check(p.root, value, shape, 0)
	if verdict != Invalid {
		return verdict, nil
	}
	return Invalid, &Problem{Pointer: c.pointer(), Message: c.message}
}

// A kinds is a set of JSON types.
type kinds uint8

const (
	kNull kinds = 1 << iota
	kBool
	kInteger // a number without a fraction
	kNumber  // any other, or one of which that is not known
	kString
	kArray
	kObject
)

var kindNames = map[string]kinds{
	"null": kNull, "boolean": kBool, "integer": kInteger, "number": kInteger | kNumber, "string": kString, "array": kArray, "object": kObject,
}

func (k kinds) String() string {
	words := ""
	add := func(k2 kinds, word string) {
		if k&k2 == k2 {
			k &^= k2
			if words != "" {
				words += " or "
			}
			words += word
		}
	}
	add(kNull, "null")
	add(kBool, "a boolean")
	add(kInteger|kNumber, "a number")
	add(kInteger, "an integer")
	add(kNumber, "a number")
	add(kString, "a string")
	add(kArray, "an array")
	add(kObject, "an object")
	return words
}
