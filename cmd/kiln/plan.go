package main

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/plan"
	"github.com/spf13/cobra"
)

const planHelp = `Print what a run would do with each step, and why. Nothing is run and nothing is
written, but a url ware that is not locked has to be fetched to know what it is.

  remembered  the step ran before with the same inputs; its outputs are there
  run         it would run, for the reasons given
  wait        it depends on what another step will make: with the same ware as
              before, it is remembered after all
  pending     it is made from the output of a call that is not remembered, and not
              known before that has run: which steps there are may depend on it

The document that --json prints is described in docs/formats.md, section 11.`

func newPlanCmd(a *app) *cobra.Command {
	var f planFlags
	var targets []string
	var force, asJSON bool
	cmd := &cobra.Command{
		Use:   "plan [FILE|DIR]",
		Short: "Say which steps would run, and why",
		Long:  planHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.parse(args)
			s, err := a.openSession(cmd.Context(), &f)
			if err != nil {
				return err
			}
			defer s.close()
			explained, err := s.explain(cmd.Context(), targets, force)
			if err != nil {
				return err
			}
			if asJSON {
				doc := plan.Document(s.plan, explained)
				for i := range explained {
					if explained[i].State != plan.StateWait {
						doc.Steps[i].FormulaID = s.formulaID(explained[i].Resolved)
					}
				}
				return a.printJSON(doc)
			}
			return s.printPlan(a.stdout, explained)
		},
	}
	f.add(cmd)
	targetFlag(cmd, &targets)
	cmd.Flags().BoolVar(&force, "force", false, "as if nothing were remembered")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (s *session) printPlan(w io.Writer, explained []plan.Explanation) error {
	b := bufio.NewWriter(w)
	for i := range explained {
		s.printStep(b, &explained[i])
	}
	pending := s.plan.Formula.Pending
	for _, p := range pending {
		fmt.Fprintf(b, "%-10s  %s  known when %s has run\n", "pending", p.Addr, strings.Join(p.Awaits, ", "))
	}
	n := plan.Count(explained)
	fmt.Fprintf(b, "%s: %d to run, %d waiting, %d remembered", count(len(explained), "step"), n.Run, n.Wait, n.Remembered)
	if len(pending) > 0 {
		fmt.Fprintf(b, "; %d known only when calls have run", len(pending))
	}
	b.WriteByte('\n')
	return b.Flush()
}

func (s *session) printStep(b *bufio.Writer, e *plan.Explanation) {
	fmt.Fprintf(b, "%-10s  %s", e.State, e.Step.Addr)
	if e.Memo != nil {
		fmt.Fprintf(b, "  ran %s, took %s", e.Memo.Started.Local().Format(time.DateTime), e.Memo.Duration.Round(time.Millisecond))
	}
	if why := e.Why(); why != "" {
		fmt.Fprintf(b, "  %s", why)
	}
	b.WriteByte('\n')
	if e.State != plan.StateWait {
		if id := s.formulaID(e.Resolved); id != "" {
			fmt.Fprintf(b, "            formula %s\n", id)
		}
	}
	for _, in := range plan.Inputs(e) {
		fmt.Fprintf(b, "            %s ← %s", in.Port, in.From)
		if !in.Ware.IsZero() {
			fmt.Fprintf(b, "  %s", plan.Short(in.Ware))
		}
		b.WriteByte('\n')
	}
	for _, out := range e.Step.Outputs {
		fmt.Fprintf(b, "            %s → %s", out.Path, out.Name)
		if e.Memo != nil {
			fmt.Fprintf(b, "  %s", plan.Short(e.Memo.Outputs[out.Name]))
		}
		b.WriteByte('\n')
	}
}
