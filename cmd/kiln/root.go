package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kilnbuild/kiln/exec/delegate"
	"github.com/spf13/cobra"
)

const rootHelp = `kiln builds wares from formula files.

A formula names wares (immutable filesets) and steps that turn wares into wares.
kiln fetches every ware ahead of time, then runs each step offline in a container
of its own and remembers what it made.

Results go to stdout, the story of a run to stderr.`

// verbs are the commands by name, in the order in which help lists them. One file per verb.
var verbs = []struct {
	name string
	cmd  func(*app) *cobra.Command
}{
	{"run", newRunCmd},
	{"check", newCheckCmd},
	{"fmt", newFmtCmd},
	{"convert", newConvertCmd},
	{"plan", newPlanCmd},
	{"graph", newGraphCmd},
	{"lock", newLockCmd},
	{"update", newUpdateCmd},
	{"fetch", newFetchCmd},
	{"key", newKeyCmd},
	{"catalog", newCatalogCmd},
	{"doctor", newDoctorCmd},
	{"spec", newSpecCmd},
	{"shell", newShellCmd},
	{"call", newCallCmd},
	{"function", newFunctionCmd},
	{"exec", newExecCmd},
	{"runs", newRunsCmd},
	{"runners", newRunnersCmd},
	{"ware", newWareCmd},
	{"warehouse", newWarehouseCmd},
	{"gc", newGCCmd},
	{"serve", newServeCmd},
	{delegate.Verb, newHelperCmd},
	{"version", newVersionCmd},
	{"supervise", newSuperviseCmd},
	{"exit-codes", newExitCodesTopic},
}

// newRootCmd makes the command that has all others; if args begin with a verb, only that
// one, because the flags of all take a tenth of a start that does little.
func newRootCmd(a *app, args ...string) *cobra.Command {
	root := &cobra.Command{
		Use:               "kiln",
		Short:             "Build wares from formula files",
		Long:              rootHelp + "\n\n" + exitCodesHelp(),
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		Args:              cobra.ArbitraryArgs,
		RunE:              runGroup,
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.color.check() },
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.PersistentFlags().Var(&a.color, "color", "colour on terminals: auto, always or never")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return withHint(err, "See: "+cmd.CommandPath()+" --help")
	})
	root.SuggestionsMinimumDistance = 2
	cobra.EnableCommandSorting = false
	for _, v := range verbs {
		if len(args) > 0 && v.name == args[0] {
			root.AddCommand(v.cmd(a))
		}
	}
	if !root.HasSubCommands() {
		for _, v := range verbs {
			root.AddCommand(v.cmd(a))
		}
	}
	hintUsage(root)
	return root
}

// hintUsage makes every command below cmd say what it takes when it is given something
// else: cobra only counts.
func hintUsage(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		hintUsage(c)
		check := c.Args
		if check == nil {
			continue
		}
		c.Args = func(c *cobra.Command, args []string) error {
			err := check(c, args)
			if err != nil && strings.HasPrefix(err.Error(), "unknown command ") { // cobra.NoArgs
				err = fmt.Errorf("%s takes no arguments, and was given %q", c.CommandPath(), args)
			}
			if err == nil || errors.As(err, new(*hintError)) {
				return err
			}
			return withHint(err, "Usage: "+c.UseLine())
		}
	}
}

// runGroup is the RunE of a command that only holds others: without arguments
// it prints help, with one it says that there is no such command.
func runGroup(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	hint := "See: " + cmd.CommandPath() + " --help"
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "Did you mean " + strings.Join(near, " or ") + "?"
	}
	return withHint(errors.New("unknown command "+args[0]+" for "+cmd.CommandPath()), hint)
}
