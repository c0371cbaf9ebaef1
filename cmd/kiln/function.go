package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/function"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/plan"
)

func newFunctionCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "function",
		Short: "Look after the functions of a formula",
		Args:  cobra.ArbitraryArgs,
		RunE:  runGroup,
	}
	cmd.AddCommand(newFunctionCheckCmd(a))
	return cmd
}

const functionCheckHelp = `Check every function of the formula: its schemas compile, its wares are there, and its
command starts. The command is started without a request, as it would be for a
call, and has to end well when it finds the end of stdin: so an interpreter that
cannot start, a module that cannot be loaded or lacks the function are found.

What functions take from steps is made first. Each function is printed with ok, or
what is wrong.`

func newFunctionCheckCmd(a *app) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "check [FILE|DIR]",
		Short: "Check that the functions of a formula can be called",
		Long:  functionCheckHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.parse(args)
			return a.checkFunctions(cmd.Context(), &f)
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) checkFunctions(ctx context.Context, f *runFlags) error {
	tale := a.newStory(true)
	defer tale.close()
	defer a.tellThrough(tale)()
	var functions []*formula.Function
	s, err := a.openExtended(ctx, &f.planFlags, func(loaded *formula.Formula) error {
		functions = loaded.Functions
		for _, function := range functions {
			if err := loaded.AddCall(function, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	defer s.close()
	result, err := a.runNeeds(ctx, s, f, functions, tale)
	if err != nil {
		return err
	}
	tale.close()
	b, err := binaries()
	if err != nil {
		return err
	}
	box, err := function.OpenWith(s.wares, b)
	if refused := (*container.Refused)(nil); errors.As(err, &refused) {
		return withCode(codeSandbox, err)
	}
	if err != nil {
		return err
	}
	defer box.Close()
	bad := 0
	for _, one := range functions {
		state := "ok"
		if err := a.checkFunction(ctx, s, box, one, result); err != nil {
			state = "failed: " + err.Error()
			bad++
		}
		fmt.Fprintf(a.stdout, "%s  %s\n", one.Addr, harmless(state, false))
	}
	if bad > 0 {
		return withCode(codeStepFailed, fmt.Errorf("%d of %s cannot be called", bad, count(len(functions), "function")))
	}
	return nil
}

// runNeeds runs the steps that functions take wares from.
func (a *app) runNeeds(ctx context.Context, s *session, f *runFlags, functions []*formula.Function, tale *story) (exec.Result, error) {
	for _, one := range functions {
		if st := s.plan.ByAddr[one.Addr]; st != nil {
			for _, dep := range st.Deps {
				f.targets = append(f.targets, s.plan.Steps[dep].Addr)
			}
		}
	}
	if len(f.targets) == 0 {
		_, err := a.lock(s, false)
		return exec.Result{}, err
	}
	result, err := a.runRounds(ctx, s, f, nil, tale)
	if len(result.Failed) > 0 {
		tale.failures(a, result.Failed)
	}
	return result, runError(result, err)
}

func (a *app) checkFunction(ctx context.Context, s *session, box *function.Sandbox, one *formula.Function, made exec.Result) error {
	st := s.plan.ByAddr[one.Addr]
	if st == nil {
		i := slices.IndexFunc(s.plan.Formula.Pending, func(p *formula.Pending) bool { return p.Addr == one.Addr })
		return fmt.Errorf("it is known only when %s has run", s.plan.Formula.Pending[i].Awaits[0])
	}
	if err := a.fetch(ctx, s, s.plan.WaresOf([]*plan.Step{st})); err != nil {
		return err
	}
	resolved, err := s.plan.ResolveStep(st, plan.MadeBy(made.Steps))
	if err != nil {
		return err
	}
	return exec.CheckFunction(ctx, box, resolved)
}
