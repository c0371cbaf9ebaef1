package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/plan"
)

const specHelp = `Write a step as an OCI bundle: a config.json and a root file system of its own, which
any OCI runtime can run as you, for looking at what a step sees:

  kiln spec build -o /tmp/bundle && runc run -b /tmp/bundle try

The steps that it takes inputs from must be remembered: run them first. The step
writes to copies in the bundle, never to the warehouse.`

func newSpecCmd(a *app) *cobra.Command {
	var f planFlags
	var dir string
	cmd := &cobra.Command{
		Use:   "spec STEP [FILE|DIR]",
		Short: "Write a step as an OCI bundle",
		Long:  specHelp,
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.parse(args[1:])
			return a.spec(cmd.Context(), &f, args[0], dir)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVarP(&dir, "output", "o", "", "the `DIR` to write the bundle to; it must not exist")
	if err := cmd.MarkFlagRequired("output"); err != nil {
		panic(err)
	}
	return cmd
}

func (a *app) spec(ctx context.Context, f *planFlags, target, dir string) error {
	s, err := a.openSession(ctx, f)
	if err != nil {
		return err
	}
	defer s.close()
	explained, err := s.explain(ctx, []string{target}, false)
	if err != nil {
		return err
	}
	last := explained[len(explained)-1] // the target: what it needs comes before it
	if last.Step.Addr != target && last.Step.Addr != "step."+target {
		return withHint(fmt.Errorf("%s means several steps", target), "Name one of them, such as "+last.Step.Addr+".")
	}
	if last.State == plan.StateWait {
		hint := "Run first what it needs: kiln run"
		for _, i := range last.Step.Deps {
			hint += " -t " + s.plan.Steps[i].Addr
		}
		return withHint(errors.New(last.Step.Addr+" waits for steps that are not remembered"), hint)
	}
	if err := a.fetch(ctx, s, s.plan.WaresOf([]*plan.Step{last.Step})); err != nil {
		return err
	}
	return exec.WriteBundle(ctx, s.wares, last.Resolved, dir)
}
