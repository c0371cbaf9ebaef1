package main

import (
	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/formula/warpforge"
)

// formulaFlags are the argument and flags of every verb that reads a formula:
// [FILE|DIR], --var and --var-file.
type formulaFlags struct {
	path     string   // as given; "." if not
	vars     []string // "NAME=VALUE", in the order given
	varFiles []string

	warpforge *warpforge.Loaded // set by load when it is a document of warpforge's
}

// add adds the flags to cmd, and sets its argument check. More arguments than one
// are left to the verb if it has set Args itself.
func (f *formulaFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.vars, "var", nil, "set a variable of the formula, `NAME=VALUE` (repeatable)")
	cmd.Flags().StringArrayVar(&f.varFiles, "var-file", nil, "read variables from an HCL or JSON `FILE` (repeatable)")
	if cmd.Args == nil {
		cmd.Args = cobra.MaximumNArgs(1)
	}
}

// parse takes the argument. Verbs call it first.
func (f *formulaFlags) parse(args []string) {
	f.path = "."
	if len(args) > 0 {
		f.path = args[0]
	}
}
