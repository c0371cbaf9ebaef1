// Package plan turns a formula into a graph of steps: it resolves and locks
// every source, gives each step its key and says why a step would run or not.
// It runs nothing; package exec does.
package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// A Plan is a formula whose sources are all resolved. It is not changed after it
// was made, except by Fetch, and is safe for concurrent use.
type Plan struct {
	Formula *formula.Formula
	Wares   map[string]warehouse.WareID // by ware address
	Steps   []*Step                     // same order as Formula.Steps
	ByAddr  map[string]*Step

	sources *sources // nil for a plan made by New
}

// A Step is a formula's step and its place in the graph.
type Step struct {
	*formula.Step
	Index  int   // in Plan.Steps
	Deps   []int // indexes of the steps it waits for, sorted, all < Index
	Needed []int // indexes of the steps that wait for it, sorted

	from []inputFrom // sorted by port
}

// inputFrom is one input as the graph sees it: a ware known now, or one output of
// an earlier step.
type inputFrom struct {
	port   string
	mode   formula.Mode
	ware   warehouse.WareID // zero when step or host is set
	host   string           // path of this machine
	filter string           // unpack filters, canonical
	step   *Step
	output string
}

// Resolved is a step with every input known, ready to have a key and to run.
type Resolved struct {
	*Step
	Inputs []ResolvedInput // sorted by Port
	Key    warehouse.StepKey
}

// A ResolvedInput is a ware, or a path of this machine, at a port.
type ResolvedInput struct {
	Port string
	Ware warehouse.WareID // zero for a mount
	Host string           // of a mount: an absolute path of this machine
	Mode formula.Mode
	// Filters are what the ware is unpacked with, in the form that package pack writes;
	// "" for the ware as it is.
	Filters string
}

// Content says what is at the port: the ware id and behind it the filters, or
// "mount:PATH".
func (in *ResolvedInput) Content() string {
	switch {
	case in.Host != "":
		return "mount:" + in.Host
	case in.Filters != "":
		return in.Ware.String() + " " + in.Filters
	}
	return in.Ware.String()
}

// Hermetic reports whether nothing but its inputs' wares can change what s makes: it
// has neither the network nor anything of this machine. Only then is it remembered.
func Hermetic(s *formula.Step) bool {
	return !s.Network && !slices.ContainsFunc(s.Inputs, func(in formula.Input) bool {
		return in.Host != "" || strings.Contains(in.Filters, "mtime=now")
	})
}

// New makes the plan of a formula whose wares are resolved already: wares holds
// an id for every ware address that a step uses. Resolve is New for a formula
// whose wares are not. An error means that f does not keep formula's promises
// (steps in topological order, references that exist).
func New(f *formula.Formula, wares map[string]warehouse.WareID) (*Plan, error) {
	p := &Plan{
		Formula: f,
		Wares:   wares,
		Steps:   make([]*Step, len(f.Steps)),
		ByAddr:  make(map[string]*Step, len(f.Steps)),
	}
	steps := make([]Step, len(f.Steps))
	groups := make(map[string][]int)
	for i, fs := range f.Steps {
		s := &steps[i]
		s.Step, s.Index = fs, i
		if err := p.link(s, groups); err != nil {
			return nil, fmt.Errorf("plan %s: %w", fs.Addr, err)
		}
		if p.ByAddr[fs.Addr] != nil {
			return nil, fmt.Errorf("plan %s: declared twice", fs.Addr)
		}
		p.Steps[i], p.ByAddr[fs.Addr] = s, s
		if g := group(fs.Addr); g != fs.Addr {
			groups[g] = append(groups[g], i)
		}
	}
	return p, nil
}

// inputError is an error about an input as it was written.
type inputError struct {
	in  formula.Input
	err error
}

func (e *inputError) Error() string { return "input " + e.in.Port + ": " + e.err.Error() }
func (e *inputError) Unwrap() error { return e.err }

// link finds what s's inputs come from and the steps it waits for, among the steps
// before it.
func (p *Plan) link(s *Step, groups map[string][]int) error {
	s.from = make([]inputFrom, len(s.Inputs))
	for i, in := range s.Inputs {
		from := inputFrom{port: in.Port, mode: in.Mode, output: in.From.Output}
		if in.Port == "/" || from.mode == "" {
			from.mode = canonicalMode(in)
		}
		switch {
		case in.Host != "":
			from.host = in.Host
		case in.From.Step != "":
			if from.step = p.ByAddr[in.From.Step]; from.step == nil {
				return fmt.Errorf("input %s: no earlier step %s", in.Port, in.From.Step)
			}
			s.Deps = append(s.Deps, from.step.Index)
		default:
			id, ok := p.Wares[in.From.Ware]
			if !ok {
				return fmt.Errorf("input %s: no ware %s", in.Port, in.From.Ware)
			}
			from.ware = id
		}
		filters, err := pack.ParseUnpackFilters(in.Filters)
		if err != nil {
			return &inputError{in, err}
		}
		from.filter = filters.String()
		s.from[i] = from
	}
	slices.SortFunc(s.from, func(a, b inputFrom) int { return strings.Compare(a.port, b.port) })
	for _, addr := range s.DependsOn {
		dep, all := p.ByAddr[addr], groups[addr]
		if dep == nil && all == nil {
			return fmt.Errorf("depends_on: no earlier step %s", addr)
		}
		if dep != nil {
			s.Deps = append(s.Deps, dep.Index)
		}
		s.Deps = append(s.Deps, all...)
	}
	slices.Sort(s.Deps)
	s.Deps = slices.Compact(s.Deps)
	for _, d := range s.Deps {
		p.Steps[d].Needed = append(p.Steps[d].Needed, s.Index)
	}
	return nil
}

func canonicalMode(in formula.Input) formula.Mode {
	if in.Port == "/" {
		return formula.Overlay
	}
	return formula.ReadOnly
}

// group returns the address that means all instances of addr's step: what
// for_each's key was added to, or addr itself.
func group(addr string) string {
	step := 0
	for strings.HasPrefix(addr[step:], "module.") {
		rest := addr[step+len("module."):]
		i := strings.IndexAny(rest, ".[")
		if i < 0 {
			return addr
		}
		if rest[i] == '[' {
			key, err := strconv.QuotedPrefix(rest[i+1:])
			if err != nil || len(rest) < i+len(key)+3 {
				return addr
			}
			i += len(key) + 2
		}
		step += len("module.") + i + 1
	}
	if i := strings.IndexByte(addr[step:], '['); i >= 0 {
		return addr[:step+i]
	}
	return addr
}

// OutputFunc tells the ware that an output of a step became; false while that is
// not known.
type OutputFunc func(s *Step, output string) (warehouse.WareID, bool)

// ResolveStep finds the ware of each of s's inputs and s's key. Every step that s
// takes an input from must have ended, so that outputs knows what it made; an
// error names the input of which that is not so. outputs may be nil for a step
// whose inputs are all wares.
func (p *Plan) ResolveStep(s *Step, outputs OutputFunc) (Resolved, error) {
	r := Resolved{Step: s, Inputs: make([]ResolvedInput, len(s.from))}
	for i, from := range s.from {
		id, ok := from.ware, true
		if from.step != nil {
			ok = outputs != nil
			if ok {
				id, ok = outputs(from.step, from.output)
			}
		}
		if !ok {
			return Resolved{}, fmt.Errorf("resolve %s: input %s: %s has not made %s yet",
				s.Addr, from.port, from.step.Addr, from.output)
		}
		r.Inputs[i] = ResolvedInput{Port: from.port, Ware: id, Host: from.host, Mode: from.mode, Filters: from.filter}
	}
	r.Key = stepKey(s.Step, r.Inputs)
	return r, nil
}
