package function

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/container/bundle"
	"github.com/kilnbuild/kiln/internal/jsonschema"
	"github.com/kilnbuild/kiln/warehouse"
)

// An Option sets something about an executor.
type Option func(*settings)

type settings struct {
	in, out    *jsonschema.Schema
	timeout    time.Duration
	box        *Sandbox
	root       warehouse.WareID
	images     Images
	image      string
	mounts     []mount
	env        []bundle.Variable
	cwd        string
	user       string
	limits     container.Limits
	writable   bool
	bestEffort bool
	maxOutput  int64
	logs       func([]byte)
	workers    int
	warm       int
	reuse      int
	recycle    int64
	given      []string // names of the options
	err        error
}

// A mount is a ware, or a directory or file of the host that becomes one.
type mount struct {
	port string
	ware warehouse.WareID
	host string
}

func collect(options []Option) (*settings, error) {
	s := &settings{
		timeout: DefaultTimeout, cwd: "/", limits: container.Limits{Memory: DefaultMemory}, maxOutput: DefaultMaxOutput, workers: runtime.NumCPU(),
	}
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
