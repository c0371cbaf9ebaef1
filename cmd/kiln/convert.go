package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kilnbuild/kiln/formula/warpforge"
)

const convertHelp = `Print a warpforge document as a formula in HCL, or a formula as a warpforge plot.

The steps have the same keys, so that what is remembered of the one is of the other.
What HCL has to say that the document implies is there with a comment. A formula may
say more than a plot can: that is an error, or where it only makes a step's key
another one a warning. Modules and for_each are written out.`

func newConvertCmd(a *app) *cobra.Command {
	var f formulaFlags
	var to string
	cmd := &cobra.Command{
		Use:   "convert [FILE|DIR]",
		Short: "Print a warpforge document as HCL, or a formula as a plot",
		Long:  convertHelp,
		RunE: func(_ *cobra.Command, args []string) error {
			f.parse(args)
			return a.convert(&f, to)
		},
	}
	f.add(cmd)
	cmd.Flags().StringVar(&to, "to", "", "hcl or warpforge; the other one than it is when not given")
	return cmd
}

func (a *app) convert(f *formulaFlags, to string) error {
	if to != "" && to != "hcl" && to != "warpforge" {
		return fmt.Errorf("option --to %s: want hcl or warpforge", to)
	}
	loaded, err := f.load(a, nil)
	if err != nil {
		return err
	}
	if f.warpforge != nil && to != "warpforge" {
		text, diags := f.warpforge.ToHCL()
		if err := a.diagnose(diags, loaded.Sources); err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.stdout, string(text))
		return err
	}
	if f.warpforge == nil && to == "hcl" {
		return errors.New("convert --to hcl: it is HCL already; kiln fmt puts it into the one style")
	}
	d := (*warpforge.Document)(nil)
	if f.warpforge != nil {
		d = f.warpforge.Document
	} else {
		plot, diags := warpforge.FromFormula(loaded)
		if err := a.diagnose(diags, loaded.Sources); err != nil {
			return err
		}
		d = plot
	}
	_, err = a.stdout.Write(warpforge.Print(d))
	return err
}
