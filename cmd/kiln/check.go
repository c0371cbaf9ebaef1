package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newCheckCmd(a *app) *cobra.Command {
	var f formulaFlags
	cmd := &cobra.Command{
		Use:   "check [FILE|DIR|DIR/...]",
		Short: "Check a formula without fetching or running anything",
		Long: `check reads and evaluates a formula and the modules it calls, and reports every
problem it finds. It fetches nothing and runs nothing.

Without an argument it checks kiln.hcl in the current directory; with DIR/..., every
formula and every warpforge document in DIR and below.`,
		RunE: func(_ *cobra.Command, args []string) error {
			f.parse(args)
			return a.each(f.path, true, func(path string) error {
				one := f
				one.path = path
				return a.check(&one)
			})
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) check(f *formulaFlags) error {
	loaded, err := f.load(a, nil)
	if err != nil {
		return err
	}
	later := ""
	if n := len(loaded.Pending); n > 0 {
		later = fmt.Sprintf("; %d known only when calls have run", n)
	}
	_, err = fmt.Fprintf(a.stderr, "%s: %s, %s, %s%s\n", f.path,
		count(len(loaded.Wares), "ware"), count(len(loaded.Steps), "step"), count(len(loaded.Outputs), "output"), later)
	return err
}

// count writes "1 ware" and "2 wares".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
