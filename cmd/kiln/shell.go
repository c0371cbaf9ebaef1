package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/container/bundle"
	"github.com/kilnbuild/kiln/plan"
)

const shellHelp = `Run a shell where a step would run: with its inputs, environment, user and working
directory, offline if it is. For looking at a step that failed, or for trying what it
should do:

  kiln shell build
  kiln shell build -- make -j2
  echo 'ls -l /src' | kiln shell build

The shell is the interpreter of the step's script, else /bin/sh of the step's root ware;
or give a COMMAND. A script's entries lie in /.kiln, as in a run. Steps that it takes
inputs from are run first unless they are remembered.

Nothing that is written there is kept, but for what is written to a path of this machine
that the step mounts with mode "rw". On a terminal, TERM is this terminal's, unless the
step sets it; it is the only difference.

kiln exits with the shell's exit code, with 128 and its number after a signal, and with
127 if the command cannot be started.`

// codeNoCommand is what shells and env(1) exit with for a command that is not there.
const codeNoCommand = 127

// shellFlags are the flags of kiln shell.
type shellFlags struct {
	runFlags
	command []string
}

func newShellCmd(a *app) *cobra.Command {
	var f shellFlags
	cmd := &cobra.Command{
		Use:   "shell STEP [FILE|DIR] [-- COMMAND...]",
		Short: "Run a shell where a step would run",
		Long:  shellHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if dash := cmd.ArgsLenAtDash(); dash >= 0 {
				f.command, args = args[dash:], args[:dash]
				if len(f.command) == 0 || f.command[0] == "" {
					return errors.New("there is no command after --")
				}
			}
			return cobra.RangeArgs(1, 2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			args = args[:len(args)-len(f.command)]
			f.parse(args[1:])
			return a.shell(cmd.Context(), &f, args[0])
		},
	}
	f.add(cmd)
	f.allow.add(cmd)
	return cmd
}

func (a *app) shell(ctx context.Context, f *shellFlags, target string) error {
	s, err := a.openSession(ctx, &f.planFlags)
	if err != nil {
		return err
	}
	defer s.close()
	step, err := oneStep(s.plan, target)
	if err != nil {
		return err
	}
	if err := a.diagnose(f.allow.consent([]*plan.Step{step}), s.plan.Formula.Sources); err != nil {
		return err
	}
	made, err := a.makeInputs(ctx, s, &f.runFlags, step)
	if err != nil {
		return err
	}
	resolved, err := s.plan.ResolveStep(step, plan.MadeBy(made.Steps))
	if err != nil {
		return err
	}
	command := f.command
	if command == nil {
		command = shellOf(step)
		a.tellAction(step)
	}
	code, err := a.runShell(ctx, resolved, exec.ShellOptions{
		Options: exec.Options{Warehouse: s.wares, Shared: s.shared, Binaries: binaries, Allow: f.allow.Allowed},
		Command: command, Stderr: a.stderr,
	})
	return shellError(code, err, f.command == nil)
}

// oneStep returns the step that a person has named.
func oneStep(p *plan.Plan, target string) (*plan.Step, error) {
	steps, err := p.Named([]string{target})
	if err != nil {
		return nil, err
	}
	if len(steps) > 1 {
		return nil, withHint(fmt.Errorf("%s means several steps", target), "Name one of them, such as "+steps[0].Addr+".")
	}
	return steps[0], nil
}

// makeInputs brings the wares that a step takes into the warehouse, and runs the steps
// that it takes inputs from unless they are remembered.
func (a *app) makeInputs(ctx context.Context, s *session, f *runFlags, step *plan.Step) (exec.Result, error) {
	if _, err := a.lock(s, false); err != nil {
		return exec.Result{}, err
	}
	if err := a.fetch(ctx, s, s.plan.WaresOf([]*plan.Step{step})); err != nil || len(step.Deps) == 0 {
		return exec.Result{}, err
	}
	for _, i := range step.Deps {
		f.targets = append(f.targets, s.plan.Steps[i].Addr)
	}
	explained, err := s.explain(ctx, f.targets, false)
	if err != nil {
		return exec.Result{}, err
	}
	tale := a.newStory(len(plan.Pending(explained)) == 0)
	defer tale.close()
	defer context.AfterFunc(ctx, tale.calm)()
	defer a.tellThrough(tale)()
	result, err := a.runRound(ctx, s, f, f.targets, nil, tale, nil)
	if len(result.Failed) > 0 {
		tale.failures(a, result.Failed)
	}
	return result, runError(result, err)
}

// shellOf is the command that a person finds themselves in: the interpreter of a
// script, without the options it has for scripts.
func shellOf(s *plan.Step) []string {
	if len(s.Action.Script) == 0 {
		return []string{"/bin/sh"}
	}
	words := s.Action.Interpreter
	if i := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "-") }); i > 0 {
		words = words[:i]
	}
	return words
}

// tellAction says what the step would have run, for a person to run parts of it.
func (a *app) tellAction(s *plan.Step) {
	switch n := len(s.Action.Script); {
	case n > 0:
		entries := bundle.ScriptDir + "/entry-1"
		if n > 1 {
			entries += fmt.Sprintf(" to entry-%d", n)
		}
		fmt.Fprintf(a.stderr, "%s runs: %s; its script is %s\n", s.Addr, shellWords(append(slices.Clone(s.Action.Interpreter), bundle.ScriptMain)), entries)
	case len(s.Action.Exec) > 0:
		fmt.Fprintf(a.stderr, "%s runs: %s\n", s.Addr, shellWords(s.Action.Exec))
	}
}

// shellWords writes a command as one would type it.
func shellWords(words []string) string {
	var quoted []string
	for _, w := range words {
		plain := func(r rune) bool {
			return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_=+./:,@%", r)
		}
		if w == "" || strings.IndexFunc(w, func(r rune) bool { return !plain(r) }) >= 0 {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		quoted = append(quoted, w)
	}
	return harmless(strings.Join(quoted, " "), false)
}

// shellError is what kiln ends with after a shell. What the shell's exit code says, the
// shell has told.
func shellError(code int, err error, chosen bool) error {
	var missing *exec.CommandError
	var failed *exec.StepError
	switch {
	case errors.As(err, &missing) && chosen:
		return withCode(codeNoCommand, withHint(err, "Name a command that the step has: kiln shell STEP -- COMMAND"))
	case errors.As(err, &missing):
		return withCode(codeNoCommand, err)
	case errors.As(err, &failed):
		return withCode(failedCode([]*exec.StepError{failed}), err)
	case err == nil && code != 0:
		return told(withCode(code, fmt.Errorf("the shell exited with code %d", code)))
	}
	return runError(exec.Result{}, err)
}
