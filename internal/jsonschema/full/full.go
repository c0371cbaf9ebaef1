// Package full checks decoded JSON against schemas of drafts 4, 6, 7, 2019-09 and 2020-12,
// all of their keywords, and says everything that is wrong. It is made to be slow and
// complete and to cost nothing until it is asked; package quick is the other way round.
// format and the content keywords are annotations in every draft.
package full

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// A Schema is a compiled schema. It is safe for concurrent use.
type Schema struct {
	root *node
	set  *set
}

// A Violation is one way in which a value breaks its schema.
type Violation struct {
	Pointer string // JSON pointer into the value; "" is all of it
	Keyword string // JSON pointer into the schema, "/properties/n/minimum"
	Message string // "got string, want integer"
}

// MaxViolations is how many Validate returns at most.
const MaxViolations = 20

// An InvalidError says how a schema breaks the schema of its draft.
type InvalidError struct{ Violations []Violation }

func (e *InvalidError) Error() string {
	return fmt.Sprintf("%s: %s", e.Violations[0].Pointer, e.Violations[0].Message)
}

// Compile compiles a schema, 2020-12 unless it says otherwise, decoded by encoding/json
// with numbers as json.Number. It holds all it refers to, but for the schemas of the
// drafts. If it is not what its draft allows, the error is an *InvalidError.
func Compile(doc any) (*Schema, error) {
	s := newSet()
	root, err := s.add(base, doc)
	if err != nil {
		return nil, err
	}
	if err := s.checkDrafts(doc); err != nil {
		return nil, err
	}
	if err := s.link(); err != nil {
		return nil, err
	}
	return &Schema{root: root, set: s}, nil
}

// ErrLoop says that references lead back to where they began.
var ErrLoop = errors.New("the references of the schema go round in a circle")

// Validate returns how v breaks the schema, at most MaxViolations. The error is
// about the schema and matches ErrLoop.
func (s *Schema) Validate(v any) ([]Violation, error) {
	c := check{set: s.set}
	_, found := c.value(s.root, v, nil, nil)
	return found, c.err
}

// A path is where in the value a check is.
type path struct {
	up   *path
	name string
}

func (p *path) String() string {
	if p == nil {
		return ""
	}
	return p.up.String() + "/" + escape(p.name)
}

func (p *path) field(name string) *path { return &path{p, name} }

func (p *path) item(i int) *path { return &path{p, strconv.Itoa(i)} }

func escape(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~", "~0"), "/", "~1")
}

func unescape(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~")
}
