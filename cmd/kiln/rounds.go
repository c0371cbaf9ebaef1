package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
)

// What a formula makes from the output of a call is known only when the call has run.
// So a run goes in rounds: those calls that something waits for are run, the formula
// is evaluated again with what they gave, until all of it is known.

// awaited returns the calls that something waits for and that can run now; none where
// the targets are known already.
func (s *session) awaited(targets []string) []string {
	f := s.plan.Formula
	waits := len(targets) == 0
	for _, t := range targets {
		if _, err := s.plan.Named([]string{t}); err != nil && slices.ContainsFunc(f.Pending, func(p *formula.Pending) bool {
			return t == p.Addr || "step."+t == p.Addr || strings.HasPrefix(t, p.Addr+"[") || strings.HasPrefix("step."+t, p.Addr+"[") ||
				strings.HasPrefix(p.Addr, t+"[") || strings.HasPrefix(p.Addr, "step."+t+"[")
		}) {
			waits = true
		}
	}
	if !waits {
		return nil
	}
	return f.Awaited()
}

// recall takes in the outputs of awaited calls that are remembered. It is false when
// there are none, or none that was not known.
func (s *session) recall(ctx context.Context) (more bool, err error) {
	calls := s.plan.Formula.Awaited()
	if len(calls) == 0 {
		return false, nil
	}
	explained, err := s.explain(ctx, calls, false)
	if err != nil {
		return false, err
	}
	for i := range explained {
		e := &explained[i]
		if e.Memo == nil || !slices.Contains(calls, e.Step.Addr) {
			continue
		}
		if gone, err := s.bring(ctx, []warehouse.WareID{e.Memo.Outputs[formula.CallOutput]}); err != nil {
			return false, err
		} else if gone != nil {
			s.shared.Forget(e.Memo.Key)
			continue
		}
		if err := s.learn(ctx, e.Step, e.Memo.Outputs); err != nil {
			return false, err
		}
		more = true
	}
	return more, nil
}

// learn takes in the output of a call.
func (s *session) learn(ctx context.Context, call *plan.Step, outputs map[string]warehouse.WareID) error {
	if _, err := s.bring(ctx, []warehouse.WareID{outputs[formula.CallOutput]}); err != nil {
		return err
	}
	text, err := s.output(ctx, outputs[formula.CallOutput])
	if err != nil {
		return fmt.Errorf("read the output of %s: %w", call.Addr, err)
	}
	s.results[call.Addr] = formula.Result{Output: text, Sensitive: call.Sensitive}
	return nil
}

// output reads what a call gave.
func (s *session) output(ctx context.Context, id warehouse.WareID) ([]byte, error) {
	err := s.wares.Hold(id)
	var rec warehouse.Record
	if err == nil {
		rec, err = s.wares.Get(id)
	}
	if err == nil {
		err = pack.Check(ctx, s.wares, id)
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(s.wares.Fileset(rec))
}

// rounds is what the rounds of a run have come to so far.
type rounds struct {
	ran, remembered int
	earlier         map[warehouse.StepKey]map[string]warehouse.WareID // of steps that have ended well
}

// keep notes what steps have made, for the rounds to come.
func (r *rounds) keep(p *plan.Plan, result exec.Result) error {
	if r.earlier == nil {
		r.earlier = map[warehouse.StepKey]map[string]warehouse.WareID{}
	}
	for addr, outputs := range result.Steps {
		resolved, err := p.ResolveStep(p.ByAddr[addr], plan.MadeBy(result.Steps))
		if err != nil {
			return err
		}
		r.earlier[resolved.Key] = outputs
	}
	return nil
}

// runRounds runs calls until the targets are known, and then the targets. The result
// is the last round's, but counts what all did; it has no Steps when the run did not
// come to run any.
func (a *app) runRounds(ctx context.Context, s *session, f *runFlags, exports []export, tale *story) (exec.Result, error) {
	if err := checkExports(s.plan, s.plan.Steps, s.known(exports)); err != nil {
		return exec.Result{}, err
	}
	var r rounds
	for {
		targets, calls := f.targets, s.awaited(f.targets)
		exports := exports
		if len(calls) > 0 {
			targets, exports = calls, nil
		} else if err := checkTargets(s.plan, targets, exports); err != nil {
			return exec.Result{}, err
		}
		result, err := a.runRound(ctx, s, f, targets, exports, tale, r.earlier)
		r.ran += result.Ran
		r.remembered += result.Remembered
		if err == nil && len(calls) > 0 {
			err = r.keep(s.plan, result)
		}
		if err != nil || len(calls) == 0 {
			result.Ran, result.Remembered = r.ran, r.remembered
			return result, err
		}
		for _, addr := range calls {
			if err := s.learn(ctx, s.plan.ByAddr[addr], result.Steps[addr]); err != nil {
				return result, err
			}
		}
		if err := a.resolve(ctx, s, &f.planFlags); err != nil {
			return exec.Result{}, err
		}
	}
}

// known returns the exports of outputs that are not pending.
func (s *session) known(exports []export) []export {
	return slices.DeleteFunc(slices.Clone(exports), func(e export) bool {
		return slices.ContainsFunc(s.plan.Formula.Pending, func(p *formula.Pending) bool { return p.Addr == "output."+e.name })
	})
}

// checkTargets checks that there are steps that targets name, and that they make what
// is to be exported.
func checkTargets(p *plan.Plan, targets []string, exports []export) error {
	steps, err := p.Select(targets)
	if err != nil {
		return err
	}
	return checkExports(p, steps, exports)
}

// runRound runs the steps that targets name and what they need, all when there are
// none. What ended earlier in this run is not told again.
func (a *app) runRound(ctx context.Context, s *session, f *runFlags, targets []string, exports []export, tale *story,
	earlier map[warehouse.StepKey]map[string]warehouse.WareID) (exec.Result, error) {
	steps, err := s.plan.Select(targets)
	if err != nil {
		return exec.Result{}, err
	}
	if err := a.diagnose(f.allow.consent(steps), s.plan.Formula.Sources); err != nil {
		return exec.Result{}, err
	}
	if _, err := a.lock(s, false); err != nil {
		return exec.Result{}, err
	}
	ran := 0
	for {
		result, err := a.runOnce(ctx, s, f, steps, targets, exports, tale, earlier)
		ran += result.Ran
		result.Ran = ran
		if err != nil {
			return result, err
		}
		gone, err := s.bring(ctx, wanted(s.plan, result, targets))
		if err != nil || gone == nil {
			return result, err
		}
		// Who remembers the steps that made these wares has lost them.
		if err := s.forget(result, gone); err != nil {
			return result, err
		}
		tale.again(result)
	}
}

// runOnce runs what is not remembered of steps, which targets name.
func (a *app) runOnce(ctx context.Context, s *session, f *runFlags, steps []*plan.Step, targets []string, exports []export, tale *story,
	earlier map[warehouse.StepKey]map[string]warehouse.WareID) (exec.Result, error) {
	explained, err := a.ready(ctx, s, f, targets, exports, tale)
	if err != nil {
		return exec.Result{}, err
	}
	if err := a.refuseUnknown(s, f, steps); err != nil {
		return exec.Result{}, err
	}
	tale.expect(steps, s.plan.Formula.Sources)
	tale.because(whyStarted(explained))
	if len(plan.Pending(explained)) == 0 && earlier == nil {
		return allRemembered(s.plan, explained, f.observer(tale)), nil
	}
	to, done, err := a.stepRunners(s, f, steps)
	if err != nil {
		return exec.Result{}, err
	}
	defer done()
	made, wait := s.pusher(ctx, targets, tale)
	defer wait()
	return exec.RunPlan(ctx, s.plan, exec.Options{
		Warehouse: s.wares, Memos: s.memos, Shared: s.shared, Made: made, Jobs: f.jobs, KeepGoing: f.keepGoing, Force: f.force,
		Targets: targets, Observe: f.observer(tale), Version: version, Binaries: binaries, Earlier: earlier,
		Allow: f.allow.Allowed, FormulaID: s.formulaID, Runners: to,
	})
}
