package main

import (
	"fmt"

	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/local"
	"github.com/kilnbuild/kiln/plan"
)

// stepRunners says where the steps of a run go, and ends what that needs when done is
// called. A step that names a runner which there is not is told as what it is: a
// mistake in the formula.
func (a *app) stepRunners(s *session, f *runFlags, steps []*plan.Step) (to exec.Runners, done func(), err error) {
	c, err := a.configuration()
	if err != nil {
		return to, nil, err
	}
	to = exec.Runners{All: f.runner, Fallback: c.Runner, AtOnce: map[string]int{}}
	for _, r := range c.Runners {
		to.AtOnce[r.Name] = r.AtOnce
	}
	names := map[string]*plan.Step{}
	for _, st := range steps {
		if name := to.Of(st); name != "" && names[name] == nil {
			names[name] = st
		}
	}
	if len(names) == 0 {
		return to, func() {}, nil
	}
	if to.LogLimit, err = logLimit(c); err != nil {
		return to, nil, err
	}
	r, err := a.openRunners()
	if err != nil {
		return to, nil, err
	}
	if err := a.refuseRunners(s, f, names, r.forSteps); err != nil {
		return to, nil, err
	}
	to.Open, to.Alive = r.open, r.registry.SessionAlive
	to.Session, done, err = r.registry.Session()
	return to, done, err
}

// refuseRunners tells of each runner, named with a step that is for it, what check says
// against it.
func (a *app) refuseRunners(s *session, f *runFlags, names map[string]*plan.Step, check func(name string) error) error {
	var diags hcl.Diagnostics
	for name, st := range names {
		err := check(name)
		if err != nil && st.Runner == name && f.runner == "" {
			diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Runner not usable for steps", Detail: fmt.Sprintf("%s: %v.", st.Addr, err), Subject: st.Range.Ptr()})
		} else if err != nil {
			return err
		}
	}
	return a.diagnose(diags, s.plan.Formula.Sources)
}

// refuseUnknown refuses runners in a formula that no kiln could run steps on, also
// where the steps are remembered.
func (a *app) refuseUnknown(s *session, f *runFlags, steps []*plan.Step) error {
	names := map[string]*plan.Step{}
	for _, st := range steps {
		if st.Runner != "" && f.runner == "" && names[st.Runner] == nil {
			names[st.Runner] = st
		}
	}
	return a.refuseRunners(s, f, names, isForSteps)
}

// isForSteps says why a runner of that name is not for steps, wherever kiln runs, or nil.
func isForSteps(name string) error {
	if name == local.Name {
		return fmt.Errorf("the runner local isolates nothing, and a step sees its inputs and nothing else: it is for kiln exec")
	}
	_, err := kindOf(name)
	return err
}

// forSteps says why steps cannot run on a runner here, or nil.
func (r *runners) forSteps(name string) error {
	if err := isForSteps(name); err != nil {
		return err
	}
	_, err := r.open(name)
	return err
}
