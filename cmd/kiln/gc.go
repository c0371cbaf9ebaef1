package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/kilnbuild/kiln/internal/config"
	"github.com/kilnbuild/kiln/warehouse/gc"
	"github.com/spf13/cobra"
)

const gcHelp = `gc removes what was not used for --keep-days, and then, if what is left takes more
than --max-size, what was used least recently until it does not. All that kiln keeps
on disk counts, as the blocks that it takes: wares, memos, caches and runs.

What a formula used last stays, together with what made it, as long as its lock
file is there and it was used within --keep-days; so does what running kilns use. If
that alone takes more than --max-size, gc says so and exits with 106. A step that was
remembered goes together with the wares that only it has made, and runs again when it is
needed; a ware that was fetched is fetched again.

What killed kilns have left goes in any case, and so do memos whose wares are gone.
gc may run at any time, beside anything else. Defaults are in config.hcl:

  gc {
    keep_days = 30
    max_size  = "50GiB"
  }`

// defaultKeepDays is how long things are kept when nobody says.
const defaultKeepDays = 30

type gcFlags struct {
	keepDays int
	maxSize  limitValue
	dryRun   bool
	asJSON   bool
	verbose  bool
}

// A limitValue is a sizeValue, or 0 for no limit.
type limitValue int64

func (v *limitValue) Type() string   { return "size" }
func (v *limitValue) String() string { return (*sizeValue)(v).String() }

func (v *limitValue) Set(text string) error {
	if text == "0" {
		*v = 0
		return nil
	}
	return (*sizeValue)(v).Set(text)
}

func newGCCmd(a *app) *cobra.Command {
	var f gcFlags
	cmd := &cobra.Command{
		Use:        "gc",
		Short:      "Remove what was not used for long, and keep to a size",
		Long:       gcHelp,
		Args:       cobra.NoArgs,
		SuggestFor: []string{"prune", "clean", "collect"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.defaults(a, cmd); err != nil {
				return err
			}
			return a.gc(cmd.Context(), &f)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.keepDays, "keep-days", defaultKeepDays, "remove what was not used for this many days")
	flags.Var(&f.maxSize, "max-size", "remove what was used least recently until all takes at most this; 0: no limit")
	flags.BoolVar(&f.dryRun, "dry-run", false, "only say what would go")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "print everything that goes")
	jsonFlag(cmd, &f.asJSON)
	return cmd
}

// defaults takes from config.hcl what the command line leaves open.
func (f *gcFlags) defaults(a *app, cmd *cobra.Command) error {
	path, err := configFile("config.hcl")
	if err != nil {
		return err
	}
	c, diags := config.Load(path)
	if err := a.diagnose(diags, c.Sources); err != nil {
		return err
	}
	if !cmd.Flags().Changed("keep-days") && c.GC.KeepDays > 0 {
		f.keepDays = c.GC.KeepDays
	}
	if !cmd.Flags().Changed("max-size") && c.GC.MaxSize != "" {
		if err := f.maxSize.Set(c.GC.MaxSize); err != nil {
			return fmt.Errorf("%s: gc: max_size = %q: %w", path, c.GC.MaxSize, err)
		}
	}
	if f.keepDays < 0 {
		return fmt.Errorf("--keep-days %d: want a number from 0 on", f.keepDays)
	}
	return nil
}

func (a *app) gc(ctx context.Context, f *gcFlags) error {
	return a.withHouse(!f.dryRun, func(o gc.Options) error {
		o.KeepFor, o.MaxBytes, o.DryRun = time.Duration(f.keepDays)*24*time.Hour, int64(f.maxSize), f.dryRun
		g := a.newGauge(ctx, "", "cleaning", 0)
		defer g.close()
		o.Progress = func(what string) { g.next(what, 0) }
		if f.verbose && !f.asJSON {
			o.Removed = func(i gc.Item) {
				g.aside(func() { fmt.Fprintf(a.stdout, "%-8s %s  %s  %s\n", i.Kind, i.Name, byteSize(i.Disk), i.Why) })
			}
		}
		r, err := gc.Collect(ctx, o)
		g.close()
		if r == nil {
			return err
		}
		if f.asJSON {
			err = errors.Join(a.printJSON(r), err)
		} else {
			tellCollected(a.stderr, r, f.dryRun)
		}
		if err == nil && r.Over > 0 {
			err = withCode(codeOverLimit, overLimit(r, f))
		}
		return err
	})
}

// tellCollected says what went and what is left.
func tellCollected(w io.Writer, r *gc.Report, dry bool) {
	verb := "removed"
	if dry {
		verb = "would remove"
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Removed)) {
		gone := r.Removed[kind]
		fmt.Fprintf(w, "%s %s, %s\n", verb, count(gone.Count, string(kind)), byteSize(gone.Disk))
	}
	if len(r.Removed) == 0 {
		fmt.Fprintln(w, "nothing to remove")
	}
	fmt.Fprintf(w, "%s left, %s of it in use by %s", byteSize(r.Before-r.Freed), byteSize(r.Rooted), count(len(r.Roots), "formula"))
	if r.Running > 0 {
		fmt.Fprintf(w, " and %s at work", count(r.Running, "kiln"))
	}
	fmt.Fprintln(w)
}

func overLimit(r *gc.Report, f *gcFlags) error {
	hint := "Wait until the kilns at work have ended."
	if len(r.Roots) > 0 {
		slices.SortFunc(r.Roots, func(a, b gc.Root) int { return a.Used.Compare(b.Used) })
		oldest := r.Roots[0]
		where := oldest.Lock
		if _, err := os.Stat(where); err != nil {
			where = oldest.Formula
		}
		hint = fmt.Sprintf("Of the formulas in use, %s was used least recently, on %s: with a smaller --keep-days, or if it is removed, it is not in use any more.",
			where, oldest.Used.Local().Format("2006-01-02"))
	}
	return withHint(fmt.Errorf("the limit of %s cannot be held: what is in use takes %s more", f.maxSize.String(), byteSize(r.Over)), hint)
}
