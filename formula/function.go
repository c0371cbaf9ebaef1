package formula

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"

	"github.com/kilnbuild/kiln/internal/jsonschema"
)

// A Function is a command that takes a JSON value and gives one: a step that lacks
// its input.
type Function struct {
	Addr      string // "function.stats"
	In, Out   *jsonschema.Schema
	Exec      []string
	Inputs    []Input // all read-only
	Env       []EnvVar
	Timeout   time.Duration
	Memory    int64 // bytes; 0: the default
	Cwd, User string
	Range     hcl.Range

	execAt    []hcl.Range
	sensitive bool
}

// A Call is what makes a step a call.
type Call struct {
	Function  string          // its address
	SchemaIn  json.RawMessage // compact; nil: none
	SchemaOut json.RawMessage
	Input     json.RawMessage // compact, names sorted
	Memory    int64           // bytes; 0: the default
}

// CallOutput is the name of a call's only output: a ware of one file, with the JSON
// that the function gave.
const CallOutput = "file"

// defaultCallTimeout is how long a call may take unless its function says otherwise.
const defaultCallTimeout = 30 * time.Second

// functionBlock is a function block; a stepBlock, so that its parts are decoded alike.
type functionBlock struct {
	stepBlock
	made *Function
}

// kind is "step", "call" or "function".
func (b *stepBlock) kind() string { return b.block.Type }

// function evaluates a function block. It is nil when that has a problem, or awaits
// calls.
func (m *module) function(b *functionBlock) *Function {
	m.l.force(&b.node, func() cty.Value {
		var exprs []hclsyntax.Expression
		for _, attr := range b.block.Body.Attributes {
			exprs = append(exprs, attr.Expr)
		}
		s := m.scope(b.around(), m.context(b.around(), false, exprs...))
		b.made = s.function(b)
		s.done()
		return cty.True
	})
	if b.node.awaits != nil {
		return nil
	}
	return b.made
}

func (s *scope) function(b *functionBlock) *Function {
	f := &Function{Addr: b.addr, Range: b.header()}
	fields := &stepFields{}
	fields.inputs, fields.wholeIn = s.object(b.attr("inputs"), "inputs", s.inputPort)
	fields.env, fields.wholeEnv = s.object(b.attr("env"), "env", s.envPort)
	f.Inputs, f.Env = s.ports(fields)
	timeout := textField(s, b.attr("timeout"), defaultCallTimeout, (*scope).timeout)
	cwd, user := textField(s, b.attr("cwd"), "/", (*scope).cwd), textField(s, b.attr("user"), "0:0", (*scope).user)
	memory := textField(s, b.attr("memory"), int64(0), (*scope).memory)
	f.Timeout, f.Cwd, f.User, f.Memory = timeout.value, cwd.value, user.value, memory.value
	if attr := b.attr("exec"); attr != nil {
		argv, _, ok := s.list(attr, false).get(s)
		f.Exec, f.execAt = argv, []hcl.Range{attr.SrcRange}
		if ok && noCommand(argv) {
			s.problem(attr.Expr.Range(), "Empty command", "The first element of exec is the command to run, and it is not empty.")
		}
	}
	f.In, f.Out = s.schema(b.attr("schema_in")), s.schema(b.attr("schema_out"))
	s.checkFunctionInputs(b, f)
	if s.failed || s.skipped {
		return nil
	}
	f.sensitive = s.sensitive
	return f
}

func (s *scope) checkFunctionInputs(b *functionBlock, f *Function) {
	for i := range f.Inputs {
		if in := &f.Inputs[i]; in.Mode == Overlay && in.Port != "/" {
			s.problem(in.Range, "Writable input of a function", "The inputs of a function are read-only. What it gives is its output.")
		}
	}
	if b.attr("inputs") != nil && !s.failed && !s.skipped && !slices.ContainsFunc(f.Inputs, func(in Input) bool { return in.Port == "/" }) {
		s.problem(b.attr("inputs").NameRange, "Function without a root", "%s needs an input at \"/\", a ware with what its command needs.", b.addr)
	}
}

// schema compiles a schema, given as an object, true or false, or as JSON text.
func (s *scope) schema(attr *hclsyntax.Attribute) *jsonschema.Schema {
	if attr == nil {
		return nil
	}
	v, ok := s.value(attr.Expr, attr.Name)
	if !ok {
		return nil
	}
	text, err := []byte(nil), error(nil)
	if v.Type() == cty.String {
		text = []byte(v.AsString())
	} else if text, err = ctyjson.Marshal(v, v.Type()); err != nil {
		s.problem(attr.Expr.Range(), "Invalid schema", "The value of %s is no JSON: %s.", attr.Name, err)
		return nil
	}
	schema, err := jsonschema.Compile(text)
	if err != nil {
		s.problem(attr.Expr.Range(), "Invalid schema", "The value of %s cannot be used: %s.", attr.Name, err)
		return nil
	}
	return schema
}

var byteUnits = []struct {
	name string
	size float64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}}

// leastMemory is less than what any command needs to start.
const leastMemory = 1 << 20

func (s *scope) memory(text string, at hcl.Range) int64 {
	for _, unit := range byteUnits {
		number, ok := strings.CutSuffix(text, unit.name)
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if bytes := n * unit.size; ok && err == nil && bytes >= leastMemory && bytes < math.MaxInt64/2 {
			return int64(bytes)
		}
	}
	s.problem(at, "Invalid amount of memory", "%s is no amount of memory. Write a number and its unit, such as \"256MiB\" or \"1.5GiB\", and at least \"1MiB\".", s.quote(text))
	return 0
}

// Call makes the step that calls f with an input. The error is a
// jsonschema.Violations when the input does not fit f's schema.
func (f *Function) Call(addr string, input []byte) (*Step, error) {
	v, err := jsonschema.Decode(input)
	if err != nil {
		return nil, fmt.Errorf("the input is not JSON: %w", err)
	}
	if f.In != nil {
		if err := f.In.ValidateDecoded(v); err != nil {
			return nil, err
		}
	}
	canonical, err := jsonschema.Encode(v)
	if err != nil {
		return nil, err
	}
	return f.step(addr, canonical), nil
}

func (f *Function) step(addr string, input []byte) *Step {
	call := &Call{Function: f.Addr, Input: input, Memory: f.Memory}
	if f.In != nil {
		call.SchemaIn = f.In.Source()
	}
	if f.Out != nil {
		call.SchemaOut = f.Out.Source()
	}
	return &Step{
		Addr: addr, Inputs: f.Inputs, Env: f.Env, Action: Action{Exec: f.Exec, Call: call, Ranges: f.execAt},
		Outputs: []StepOutput{{Name: CallOutput, Path: "/dev/stdout", Packtype: Packtypes[0], Range: f.Range}},
		Timeout: f.Timeout, Cwd: f.Cwd, User: f.User, Sensitive: f.sensitive, Range: f.Range,
	}
}

// AddCall adds to f a call of one of its functions, under the function's address, or
// makes it pending when the function is made from something that is. An input of nil
// is for a call that is not to be run.
func (f *Formula) AddCall(function *Function, input []byte) error {
	s := function.step(function.Addr, input)
	if input != nil {
		var err error
		if s, err = function.Call(function.Addr, input); err != nil {
			return err
		}
	}
	calls := awaits{}
	for _, p := range f.Pending {
		if slices.ContainsFunc(s.Inputs, func(in Input) bool { return in.From.Step == p.Addr || in.From.Ware == p.Addr }) {
			calls.add(p)
		}
	}
	if len(calls) == 0 {
		f.Steps = append(f.Steps, s)
		return nil
	}
	f.Pending = append(f.Pending, &Pending{Addr: s.Addr, Kind: "call", Awaits: slices.Sorted(maps.Keys(calls)), Range: s.Range})
	return nil
}
