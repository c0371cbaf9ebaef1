package warpforge

import (
	"strings"

	"github.com/hashicorp/hcl/v2"
)

// Kind says what a document holds.
type Kind string

// The kinds of documents that can be run, by the name of their capsule.
const (
	KindFormula Kind = "formula"
	KindPlot    Kind = "plot.v1"
	KindModule  Kind = "module.v1"
)

// A Document is one parsed file. Everything in it keeps the order and the place in
// which it was written.
type Document struct {
	Kind       Kind
	Formula    *Formula    // KindFormula
	Warehouses []Warehouse // KindFormula: its context
	HasContext bool
	Plot       *Plot // KindPlot
	Module     Text  // KindModule: its name
	Range      hcl.Range
}

// Text is a JSON string.
type Text struct {
	Value string
	Range hcl.Range
}

// A Warehouse says where a ware can be fetched.
type Warehouse struct{ Ware, Addr Text }

// A Formula is one computation: a formula.v1, or a step's protoformula.
type Formula struct {
	Inputs  []Input
	Action  Action
	Outputs []Gather
	Range   hcl.Range
}

// A Plot is steps and the pipes between them.
type Plot struct {
	Inputs  []Input
	Steps   []Step
	Outputs []PlotOutput
	Range   hcl.Range
}

// A Step is a protoformula or a plot of its own.
type Step struct {
	Name    Text
	Formula *Formula
	Plot    *Plot
}

// A PlotOutput names what a plot gives out.
type PlotOutput struct {
	Name        Text
	Step, Label string // of the pipe
	Range       hcl.Range
}

// InputKind says where an input comes from.
type InputKind string

// The kinds of inputs. A formula has only the first three.
const (
	InputWare    InputKind = "ware"
	InputMount   InputKind = "mount"
	InputLiteral InputKind = "literal"
	InputPipe    InputKind = "pipe"
	InputCatalog InputKind = "catalog"
	InputIngest  InputKind = "ingest"
)

// An Input is one input of a formula or a plot.
type Input struct {
	Name    Text // the port, or in a plot the label
	Kind    InputKind
	Text    string   // as written, without the kind
	Parts   []string // ware: packtype, hash; mount: mode, path; pipe: step, label; catalog: module, release, item; ingest: path, ref; literal: the text
	Complex bool     // written as an object, with filters
	Filters []Filter
	Range   hcl.Range // of the string
}

// A Filter is one key and value of a filter map.
type Filter struct{ Key, Value Text }

// ActionKind says what a formula does.
type ActionKind string

// The kinds of actions.
const (
	ActionEcho   ActionKind = "echo"
	ActionExec   ActionKind = "exec"
	ActionScript ActionKind = "script"
)

// An Action is what a formula does.
type Action struct {
	Kind        ActionKind
	Command     []Text // exec
	Interpreter Text   // script
	Contents    []Text // script
	Network     *bool  // nil: not written, which means no
	Range       hcl.Range
}

// A Gather is one output of a formula.
type Gather struct {
	Name       Text
	From       Text
	Packtype   Text // zero Range: not written, which means tar
	Filters    []Filter
	HasFilters bool
}

// filterText writes filters the way package pack reads them.
func filterText(filters []Filter) string {
	var parts []string
	for _, f := range filters {
		parts = append(parts, f.Key.Value+"="+f.Value.Value)
	}
	return strings.Join(parts, ",")
}
