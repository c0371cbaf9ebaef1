package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/plan"
)

const doctorHelp = `Check what this machine lets kiln do, and say how to allow what it refuses. Ends
with a real step: the toolbox as its root, in a container, its output packed.`

// doctorFormula is the step that the check ends with.
const doctorFormula = `ware "base" { builtin = "toolbox" }
step "check" {
  inputs  = { "/" = ware.base }
  script  = ["mkdir /out", "id -u > /out/uid"]
  outputs = { out = "/out" }
}
`

func newDoctorCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check that steps can run on this machine",
		Long:  doctorHelp,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return a.doctor(cmd.Context()) },
	}
}

func (a *app) doctor(ctx context.Context) error {
	s := &session{}
	if err := s.open(); err != nil {
		return err
	}
	defer s.close()
	carried, err := binaries()
	if err != nil {
		return err
	}
	checks := container.Examine(s.wares.Dir(), carried)
	last := container.Check{Name: "a step", Found: "ran, and its output was packed"}
	if err := s.tryStep(ctx); err != nil {
		last.Level, last.Found = container.Bad, err.Error()
	}
	bad := false
	for _, c := range append(checks, last) {
		a.printCheck(c)
		bad = bad || c.Level == container.Bad
	}
	if bad {
		return told(withCode(codeSandbox, errors.New("this machine does not let kiln run steps")))
	}
	return nil
}

// printCheck prints one finding, what belongs to it indented below.
func (a *app) printCheck(c container.Check) {
	mark := map[container.Level]string{container.Good: "ok", container.Poorer: "note", container.Bad: "FAIL"}[c.Level]
	indent := "\n" + strings.Repeat(" ", 17)
	fmt.Fprintf(a.stdout, "%-5s%-12s%s\n", mark, c.Name, strings.ReplaceAll(c.Found, "\n", indent))
	if c.Hint != "" {
		fmt.Fprintf(a.stdout, "%s%s\n", indent[1:], strings.ReplaceAll(c.Hint, "\n", indent))
	}
}

// tryStep runs a formula of one step, whether it is remembered or not.
func (s *session) tryStep(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "kiln-doctor")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "kiln.hcl"), []byte(doctorFormula), 0o600); err != nil {
		return err
	}
	f, diags := formula.Load(dir, formula.LoadOptions{})
	if diags.HasErrors() {
		return diags
	}
	p, diags := plan.Resolve(ctx, f, plan.ResolveOptions{Warehouse: s.wares, CacheDir: dir, LockPath: filepath.Join(dir, plan.LockName), Builtins: builtins(), Offline: true})
	if diags.HasErrors() {
		return diags
	}
	if diags := p.Fetch(ctx, p.WaresOf(p.Steps)); diags.HasErrors() {
		return diags
	}
	result, err := exec.RunPlan(ctx, p, exec.Options{Warehouse: s.wares, Memos: s.memos, Force: true, Version: version, Binaries: binaries})
	if len(result.Failed) > 0 {
		return result.Failed[0]
	}
	return err
}
