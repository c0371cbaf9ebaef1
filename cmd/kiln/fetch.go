package main

import (
	"fmt"

	"github.com/kilnbuild/kiln/plan"
	"github.com/spf13/cobra"
)

const fetchHelp = `Bring every ware of the formula into the local warehouse, so that a run needs no
network, and print each as ADDRESS = WAREID. With -t, only the wares that these
steps and what they need take as inputs.`

func newFetchCmd(a *app) *cobra.Command {
	var f planFlags
	var targets []string
	cmd := &cobra.Command{
		Use:   "fetch [FILE|DIR]",
		Short: "Bring the formula's wares into the warehouse",
		Long:  fetchHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.parse(args)
			return a.fetchAll(cmd, &f, targets)
		},
	}
	f.add(cmd)
	targetFlag(cmd, &targets)
	return cmd
}

func (a *app) fetchAll(cmd *cobra.Command, f *planFlags, targets []string) error {
	s, err := a.openSession(cmd.Context(), f)
	if err != nil {
		return err
	}
	defer s.close()
	addrs, err := waresFor(s.plan, targets)
	if err != nil {
		return err
	}
	if _, err := a.lock(s, false); err != nil {
		return err
	}
	if err := a.fetch(cmd.Context(), s, addrs); err != nil {
		return err
	}
	if err := s.wares.Sync(); err != nil {
		return err
	}
	if err := s.noteFetched(); err != nil {
		return err
	}
	for _, addr := range addrs {
		fmt.Fprintf(a.stdout, "%s = %s\n", addr, s.plan.Wares[addr])
	}
	return nil
}

// waresFor returns the addresses of all wares, or of those that the targets take.
func waresFor(p *plan.Plan, targets []string) ([]string, error) {
	if len(targets) > 0 {
		steps, err := p.Select(targets)
		return p.WaresOf(steps), err
	}
	var addrs []string
	for _, w := range p.Formula.Wares {
		addrs = append(addrs, w.Addr)
	}
	return addrs, nil
}

// targetFlag adds -t to a verb that can be told to look at some steps only.
func targetFlag(cmd *cobra.Command, targets *[]string) {
	cmd.Flags().StringArrayVarP(targets, "target", "t", nil, "only this `STEP` and what it needs (repeatable)")
}
