// Package jsonschema checks values against JSON Schemas that were compiled once. A
// schema holds all that it refers to: nothing is ever loaded from elsewhere. What
// is common is checked by package quick, the rest and every refusal by package full.
package jsonschema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/kilnbuild/kiln/internal/jsonschema/full"
	"github.com/kilnbuild/kiln/internal/jsonschema/quick"
)

// A Schema is a compiled JSON Schema. It is safe for concurrent use.
type Schema struct {
	source json.RawMessage
	quick  *quick.Program
	full   *full.Schema
}

// Compile compiles a schema of any draft, 2020-12 unless it says otherwise. format
// is an annotation there, as that draft has it. Errors are about one place in it.
func Compile(source []byte) (*Schema, error) {
	doc, err := Decode(source)
	if err != nil {
		return nil, fmt.Errorf("the schema is no JSON: %w", err)
	}
	complete, err := full.Compile(doc)
	if err != nil {
		return nil, fmt.Errorf("the schema does not compile: %w", compileError(err))
	}
	var compact bytes.Buffer
	json.Compact(&compact, source)
	return &Schema{source: compact.Bytes(), quick: quick.Compile(doc), full: complete}, nil
}

// compileError says in one line what is wrong with a schema.
func compileError(err error) error {
	if invalid := (*full.InvalidError)(nil); errors.As(err, &invalid) {
		return Violations(invalid.Violations)
	}
	return err
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
	found, err := s.full.Validate(decoded)
	if err != nil {
		return fmt.Errorf("check against the schema: %w", err)
	}
	if len(found) > 0 {
		return Violations(found)
	}
	return nil
}

// A Violation is one way in which a value breaks its schema.
type Violation = full.Violation

// Violations are all ways in which a value breaks its schema, at most full.MaxViolations.
type Violations []Violation

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
