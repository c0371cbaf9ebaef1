// Package jsonschema checks values against JSON Schemas that were compiled once. A
// schema holds all that it refers to: nothing is ever loaded from elsewhere. What
// is common is checked by package quick, the rest and every refusal by a complete
// validator of all drafts.
package jsonschema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/kilnbuild/kiln/internal/jsonschema/quick"
)

// A Schema is a compiled JSON Schema. It is safe for concurrent use.
type Schema struct {
	source json.RawMessage
	quick  *quick.Program
	full   *jsonschema.Schema
}

// base is where a schema is taken to be, for its own references.
const base = "kiln:///schema"

// Compile compiles a schema of any draft, 2020-12 unless it says otherwise. format
// is an annotation there, as that draft has it. Errors are about one place in it.
func Compile(source []byte) (*Schema, error) {
	doc, err := Decode(source)
	if err != nil {
		return nil, fmt.Errorf("the schema is no JSON: %w", err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(offline{})
	if err := c.AddResource(base, doc); err != nil {
		return nil, compileError(err)
	}
	full, err := c.Compile(base)
	if err != nil {
		return nil, compileError(err)
	}
	var compact bytes.Buffer
	json.Compact(&compact, source)
	return &Schema{source: compact.Bytes(), quick: quick.Compile(doc), full: full}, nil
}

// offline loads nothing.
type offline struct{}

func (offline) Load(url string) (any, error) {
	return nil, fmt.Errorf("%s is outside the schema, and nothing is fetched: put it into $defs and refer to it as #/$defs/NAME", url)
}

// compileError says in one line what is wrong with a schema.
func compileError(err error) error {
	var invalid *jsonschema.SchemaValidationError
	var verr *jsonschema.ValidationError
	if errors.As(err, &invalid) && errors.As(invalid.Err, &verr) {
		return fmt.Errorf("the schema does not compile: %w", violations(verr))
	}
	var load *jsonschema.LoadURLError
	if errors.As(err, &load) {
		return fmt.Errorf("the schema does not compile: %w", load.Err)
	}
	text := strings.ReplaceAll(err.Error(), base, "")
	return fmt.Errorf("the schema does not compile: %s", strings.TrimPrefix(text, "jsonschema: "))
}

// Source returns the schema as compact JSON.
func (s *Schema) Source() json.RawMessage { return s.source }

// Validate checks a Go value as the JSON that encoding/json makes of it. The error
// is a Violations, or says why the value has no JSON.
func (s *Schema) Validate(v any) error {
	if verdict, _ := s.quick.Check(v); verdict == quick.Valid {
		return nil
	}
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	decoded, err := Decode(text)
	if err != nil {
		return err
	}
	return s.validate(decoded)
}

// ValidateDecoded checks a value that Decode returned. The error is a Violations.
func (s *Schema) ValidateDecoded(v any) error {
	if verdict, _ := s.quick.Check(v); verdict == quick.Valid {
		return nil
	}
	return s.validate(v)
}

func (s *Schema) validate(decoded any) error {
	err := s.full.Validate(decoded)
	if err == nil {
		return nil
	}
	var verr *jsonschema.ValidationError
	if !errors.As(err, &verr) {
		return fmt.Errorf("check against the schema: %w", err)
	}
	return violations(verr)
}

// A Violation is one way in which a value breaks its schema.
type Violation struct {
	Pointer string // JSON pointer into the value; "" is all of it
	Keyword string // JSON pointer into the schema, "/properties/n/minimum"
	Message string // the validator's words
}

// Violations are all ways in which a value breaks its schema, at most maxViolations.
type Violations []Violation

const maxViolations = 20

func (v Violations) Error() string {
	texts := make([]string, len(v))
	for i, one := range v {
		at := one.Pointer
		if at == "" {
			at = "the value"
		}
		texts[i] = at + ": " + one.Message
	}
	return strings.Join(texts, "; ")
}

var english = message.NewPrinter(language.English)

// violations collects the leaves of the validator's tree.
func violations(e *jsonschema.ValidationError) Violations {
	var list Violations
	var walk func(e *jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		if len(list) == maxViolations {
			return
		}
		for _, cause := range e.Causes {
			walk(cause)
		}
		if len(e.Causes) > 0 {
			return
		}
		_, keyword, _ := strings.Cut(e.SchemaURL, "#")
		list = append(list, Violation{
			Pointer: pointer(e.InstanceLocation), Keyword: keyword + pointer(e.ErrorKind.KeywordPath()),
			Message: e.ErrorKind.LocalizedString(english),
		})
	}
	walk(e)
	return list
}

var escape = strings.NewReplacer("~", "~0", "/", "~1")

func pointer(path []string) string {
	var b strings.Builder
	for _, part := range path {
		b.WriteByte('/')
		escape.WriteString(&b, part)
	}
	return b.String()
}
