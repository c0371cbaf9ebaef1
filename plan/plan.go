// Package plan turns a formula into a graph of steps: it resolves and locks
// every source and gives each step its key. It runs nothing; package exec does.
package plan

import (
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/warehouse"
)

// A Plan is a formula whose sources are all resolved.
type Plan struct {
	Formula *formula.Formula
	Wares   map[string]warehouse.WareID // by ware address
	Steps   []*Step                     // same order as Formula.Steps
	ByAddr  map[string]*Step
}

// A Step is a formula's step and its place in the graph.
type Step struct {
	*formula.Step
	Index  int   // in Plan.Steps
	Deps   []int // indexes of the steps it waits for, sorted, all < Index
	Needed []int // indexes of the steps that wait for it, sorted
}

// Resolved is a step with every input known, ready to have a key and to run.
type Resolved struct {
	*Step
	Inputs []ResolvedInput // sorted by Port
	Key    warehouse.StepKey
}

// A ResolvedInput is a ware at a port.
type ResolvedInput struct {
	Port string
	Ware warehouse.WareID
	Mode formula.Mode
}
