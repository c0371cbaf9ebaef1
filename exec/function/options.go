package function

import (
	"fmt"
	"slices"
	"time"

	"github.com/kilnbuild/kiln/internal/jsonschema"
)

// An Option sets something about an executor.
type Option func(*settings)

type settings struct {
	in, out *jsonschema.Schema
	timeout time.Duration
	given   []string // names of the options, as far as not every executor has them
	err     error
}

func collect(options []Option) (*settings, error) {
	s := &settings{timeout: DefaultTimeout}
	for _, option := range options {
		option(s)
	}
	return s, s.err
}

func (s *settings) set(name string, err error) {
	s.given = append(s.given, name)
	if err != nil && s.err == nil {
		s.err = fmt.Errorf("option %s: %w", name, err)
	}
}

// onlyFor refuses options that would be ignored.
func (s *settings) onlyFor(executor string, names ...string) error {
	for _, name := range s.given {
		if !slices.Contains(names, name) {
			return fmt.Errorf("option %s means nothing to function.%s", name, executor)
		}
	}
	return nil
}

// SchemaIn has every input checked against a JSON Schema.
func SchemaIn(schema string) Option {
	return func(s *settings) {
		var err error
		s.in, err = jsonschema.Compile([]byte(schema))
		s.set("SchemaIn", err)
	}
}

// SchemaOut has every output checked against a JSON Schema.
func SchemaOut(schema string) Option {
	return func(s *settings) {
		var err error
		s.out, err = jsonschema.Compile([]byte(schema))
		s.set("SchemaOut", err)
	}
}

// Timeout says how long a call may take, in place of DefaultTimeout.
func Timeout(d time.Duration) Option {
	return func(s *settings) {
		var err error
		if s.timeout = d; d <= 0 {
			err = fmt.Errorf("%s is no time to run in", d)
		}
		s.set("Timeout", err)
	}
}
