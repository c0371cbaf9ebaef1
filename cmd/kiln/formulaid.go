package main

import (
	"fmt"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
)

// formulaID returns warpforge's id of a step with its inputs known, or "" for a step
// that no document of warpforge's describes.
func (s *session) formulaID(r plan.Resolved) string {
	if s.warpforge == nil || s.warpforge.Steps[r.Addr] == nil {
		return ""
	}
	wares := make(map[string]string, len(r.Inputs))
	for _, in := range r.Inputs {
		wares[in.Port] = in.Ware.String()
	}
	for _, in := range r.Step.Inputs {
		if commit := s.plan.Commit(in.From.Ware); commit != "" {
			wares[in.Port] = "git:" + commit
		}
	}
	return s.warpforge.Steps[r.Addr].FormulaID(wares)
}

// tellFormulaIDs tells warpforge's id of each step that ended well.
func (s *session) tellFormulaIDs(a *app, r exec.Result) {
	ids := s.formulaIDs(r.Steps)
	for _, st := range s.plan.Steps {
		if _, ended := r.Steps[st.Addr]; ended && ids[st.Addr] != "" {
			fmt.Fprintf(a.stderr, "formula %s is %s\n", st.Addr, ids[st.Addr])
		}
	}
}

// formulaIDs returns the FormulaID of each step whose inputs are known once a run has
// made what made holds, by step address.
func (s *session) formulaIDs(made map[string]map[string]warehouse.WareID) map[string]string {
	ids := map[string]string{}
	for _, st := range s.plan.Steps {
		r, err := s.plan.ResolveStep(st, plan.MadeBy(made))
		if err != nil {
			continue
		}
		if id := s.formulaID(r); id != "" {
			ids[st.Addr] = id
		}
	}
	return ids
}
