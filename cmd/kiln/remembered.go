package main

import (
	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
)

// needed returns the addresses of the wares that a run has to have at hand: inputs
// of steps that may run, and what is exported as it is. Those of steps that are
// remembered may be gone.
func needed(p *plan.Plan, explained []plan.Explanation, exports []export) []string {
	addrs := p.WaresOf(plan.Pending(explained))
	for _, e := range exports {
		for _, ref := range e.refs(outputOf(p, e.name)) {
			if ref.Ware != "" {
				addrs = append(addrs, ref.Ware)
			}
		}
	}
	return addrs
}

// allRemembered tells the run of a plan of which every step is remembered: what
// exec.Run would do, without looking everything up a second time.
func allRemembered(p *plan.Plan, explained []plan.Explanation, observe func(exec.Event)) exec.Result {
	r := exec.Result{
		Outputs: map[string]warehouse.WareID{},
		Steps:   make(map[string]map[string]warehouse.WareID, len(explained)),
	}
	for i := range explained {
		e := &explained[i]
		r.Steps[e.Step.Addr] = e.Memo.Outputs
		r.Remembered++
		observe(exec.Event{Kind: exec.StepRemembered, Step: e.Step, Duration: e.Memo.Duration, Outputs: e.Memo.Outputs, Origin: e.Memo.Origin})
	}
	for _, o := range p.Formula.Outputs {
		id, ok := p.Wares[o.From.Ware]
		if o.From.Step != "" {
			id, ok = r.Steps[o.From.Step][o.From.Output]
		}
		if ok {
			r.Outputs[o.Name] = id
		}
	}
	return r
}

// whyStarted is what the story of a run says of steps that have run before.
func whyStarted(explained []plan.Explanation) map[string]string {
	why := map[string]string{}
	for i := range explained {
		e := &explained[i]
		if e.State == plan.StateRun && e.Reasons[0].Kind != plan.ReasonFirst {
			why[e.Step.Addr] = e.Why()
		}
	}
	return why
}
