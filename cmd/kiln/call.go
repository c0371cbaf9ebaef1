package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/internal/jsonschema"
)

const callHelp = `Call a function of the formula with the JSON in a file, or on stdin with -, and print
the JSON that it gives.

What the function takes from steps is made first. A call with the same input is
remembered, as in a run of the formula.`

// callFlags are the flags of kiln call.
type callFlags struct {
	runFlags
	input string
}

func newCallCmd(a *app) *cobra.Command {
	var f callFlags
	cmd := &cobra.Command{
		Use:   "call FUNCTION [FILE|DIR]",
		Short: "Call a function with JSON and print what it gives",
		Long:  callHelp,
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.parse(args[1:])
			return a.call(cmd.Context(), &f, args[0])
		},
	}
	f.add(cmd)
	cmd.Flags().StringVarP(&f.input, "input", "i", "", "the `FILE` with the input, or - for stdin")
	if err := cmd.MarkFlagRequired("input"); err != nil {
		panic(err)
	}
	cmd.Flags().BoolVar(&f.force, "force", false, "call although it is remembered")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "tell only about failures")
	return cmd
}

// maxInput bounds an input, in bytes.
const maxInput = 1 << 30

func readInput(name string) ([]byte, error) {
	file := os.Stdin
	if name != "-" {
		var err error
		if file, err = os.Open(name); err != nil {
			return nil, fmt.Errorf("read the input: %w", err)
		}
		defer file.Close()
	}
	text, err := io.ReadAll(io.LimitReader(file, maxInput+1))
	if err == nil && len(text) > maxInput {
		err = fmt.Errorf("it has more than %d MiB", maxInput>>20)
	}
	if err != nil {
		return nil, fmt.Errorf("read the input %s: %w", name, err)
	}
	return text, nil
}

// functionOf returns the function that a person has named.
func functionOf(f *formula.Formula, name string) (*formula.Function, error) {
	var names []string
	for _, function := range f.Functions {
		if function.Addr == name || function.Addr == "function."+name {
			return function, nil
		}
		names = append(names, function.Addr)
	}
	hint := "The formula has none."
	switch {
	case len(f.Pending) > 0:
		hint = "If it is made from the output of a call, kiln run has to have run that call."
	case len(names) > 0:
		hint = "There is " + strings.Join(names, ", ") + "."
	}
	return nil, withHint(fmt.Errorf("no function %s in this formula", name), hint)
}

func (a *app) call(ctx context.Context, f *callFlags, name string) error {
	input, err := readInput(f.input)
	if err != nil {
		return err
	}
	tale := a.newStory(f.quiet)
	defer tale.close()
	defer context.AfterFunc(ctx, tale.calm)()
	defer a.tellThrough(tale)()
	f.anew = f.force
	s, err := a.openExtended(ctx, &f.planFlags, func(loaded *formula.Formula) error {
		function, err := functionOf(loaded, name)
		if err != nil {
			return err
		}
		f.targets = []string{function.Addr}
		return misfit(function, loaded.AddCall(function, input))
	})
	if err != nil {
		return err
	}
	defer s.close()
	result, err := a.runRounds(ctx, s, &f.runFlags, nil, tale)
	if len(result.Failed) > 0 {
		tale.failures(a, result.Failed)
	}
	tale.close()
	if err != nil {
		return runError(result, err)
	}
	text, err := s.output(ctx, result.Steps[f.targets[0]][formula.CallOutput])
	if err == nil {
		_, err = a.stdout.Write(text)
	}
	return err
}

// misfit tells in which ways an input does not fit, each on a line.
func misfit(function *formula.Function, err error) error {
	var violations jsonschema.Violations
	if !errors.As(err, &violations) {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "the input does not fit schema_in of %s", function.Addr)
	for _, v := range violations {
		at := v.Pointer
		if at == "" {
			at = "the value"
		}
		fmt.Fprintf(&b, "\n  %s: %s", at, v.Message)
	}
	return errors.New(b.String())
}
