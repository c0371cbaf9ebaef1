package plan

import (
	"time"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/warehouse"
)

// A Counts is how many steps are in each state.
type Counts struct {
	Run        int `json:"run"`
	Wait       int `json:"wait"`
	Remembered int `json:"remembered"`
}

// Count counts explanations by state.
func Count(explanations []Explanation) (n Counts) {
	for i := range explanations {
		switch explanations[i].State {
		case StateRun:
			n.Run++
		case StateWait:
			n.Wait++
		case StateRemembered:
			n.Remembered++
		}
	}
	return n
}

// An InputDoc is one input of a step in a PlanDoc.
type InputDoc struct {
	Port string           `json:"port"`
	From string           `json:"from"` // "ware.lua", "step.build.lua"
	Mode formula.Mode     `json:"mode"`
	Ware warehouse.WareID `json:"ware"` // "": not known before From has run
}

// Inputs returns the inputs of an explained step, sorted by port.
func Inputs(e *Explanation) []InputDoc {
	docs := make([]InputDoc, len(e.Step.from))
	wares := make(map[string]string, len(e.Step.Inputs))
	for _, in := range e.Step.Inputs {
		wares[in.Port] = in.From.Ware
		if in.Host != "" {
			wares[in.Port] = "mount:" + in.Host
		}
	}
	for i, from := range e.Step.from {
		docs[i] = InputDoc{Port: from.port, From: wares[from.port], Mode: from.mode, Ware: from.ware}
		if from.step != nil {
			docs[i].From = from.step.Addr + "." + from.output
		}
		if e.Resolved.Inputs != nil {
			docs[i].Ware = e.Resolved.Inputs[i].Ware
		}
	}
	return docs
}

// A PlanDoc is a plan as kiln plan --json prints it: docs/formats.md, section 11.
type PlanDoc struct {
	Formula string    `json:"formula"` // absolute directory
	Wares   []WareDoc `json:"wares"`   // sorted by address
	Steps   []StepDoc `json:"steps"`   // in topological order
	Counts  Counts    `json:"counts"`

	Pending []PendingDoc `json:"pending,omitempty"` // sorted by address
}

// A PendingDoc is what is not known before calls have run.
type PendingDoc struct {
	Address string   `json:"address"`
	Kind    string   `json:"kind"`   // "ware", "step", "call" or "output"
	Awaits  []string `json:"awaits"` // addresses of calls
}

// A WareDoc is one ware of a PlanDoc.
type WareDoc struct {
	Address string             `json:"address"`
	Kind    formula.SourceKind `json:"kind"`
	Ware    warehouse.WareID   `json:"ware"`
}

// A StepDoc is one step of a PlanDoc.
type StepDoc struct {
	Address   string            `json:"address"`
	State     State             `json:"state"`
	Key       warehouse.StepKey `json:"key,omitempty"`        // not of a step that waits
	FormulaID string            `json:"formula_id,omitempty"` // warpforge's, of a document of its
	Reasons   []Reason          `json:"reasons"`
	Needs     []string          `json:"needs"` // addresses of steps
	Inputs    []InputDoc        `json:"inputs"`
	Outputs   []StepOutputDoc   `json:"outputs"`
	Ran       *time.Time        `json:"ran,omitempty"`  // remembered: when it ran, UTC
	Took      *float64          `json:"took,omitempty"` // remembered: seconds
}

// A StepOutputDoc is one output of a StepDoc.
type StepOutputDoc struct {
	Name string           `json:"name"`
	Path string           `json:"path"`
	Ware warehouse.WareID `json:"ware"` // "": not remembered
}

// Document makes the JSON form of what was explained about p.
func Document(p *Plan, explanations []Explanation) PlanDoc {
	doc := PlanDoc{
		Formula: p.Formula.Dir,
		Wares:   make([]WareDoc, 0, len(p.Formula.Wares)),
		Steps:   make([]StepDoc, 0, len(explanations)),
		Counts:  Count(explanations),
	}
	for _, w := range p.Formula.Wares {
		doc.Wares = append(doc.Wares, WareDoc{w.Addr, w.Source.Kind, p.Wares[w.Addr]})
	}
	for _, pending := range p.Formula.Pending {
		doc.Pending = append(doc.Pending, PendingDoc{pending.Addr, pending.Kind, pending.Awaits})
	}
	for i := range explanations {
		doc.Steps = append(doc.Steps, stepDoc(p, &explanations[i]))
	}
	return doc
}

func stepDoc(p *Plan, e *Explanation) StepDoc {
	d := StepDoc{
		Address: e.Step.Addr, State: e.State, Key: e.Resolved.Key, Inputs: Inputs(e),
		Reasons: append([]Reason{}, e.Reasons...),
		Needs:   make([]string, len(e.Step.Deps)),
		Outputs: make([]StepOutputDoc, len(e.Step.Outputs)),
	}
	for i, dep := range e.Step.Deps {
		d.Needs[i] = p.Steps[dep].Addr
	}
	for i, o := range e.Step.Outputs {
		d.Outputs[i] = StepOutputDoc{Name: o.Name, Path: o.Path}
		if e.Memo != nil {
			d.Outputs[i].Ware = e.Memo.Outputs[o.Name]
		}
	}
	if e.Memo != nil {
		took := e.Memo.Duration.Seconds()
		d.Ran, d.Took = &e.Memo.Started, &took
	}
	return d
}
