package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/spf13/cobra"
)

const wareDiffHelp = `diff compares two filesets, path by path, and prints what was added, removed and
changed from A to B, and for what changed in what: type, content, target of a symlink,
device, mode, owner, mtime. Where text changed, lines follow as in diff -u, unless a
file has more than 1 MiB; of added and removed files the content is not shown.

A and B are wares, by the beginning of their ids, or paths: of a directory, a file, or
an archive, whose content counts. What has a slash in it or begins with a dot is a
path (write ./NAME if NAME could be the beginning of an id). Paths are compared as
they would be packed, with --filters as for kiln ware pack; only setid and dev are
keep unless they are set. So kiln ware diff WARE ./DIR tells why packing DIR does not
give WARE.

The exit code is 0 if there is no difference, 1 if there is one, and 3, or one of
those from 100 on, if the two could not be compared.`

// diffFlags are the flags of kiln ware diff.
type diffFlags struct {
	pack.BuildOptions
	filters        string
	asJSON         bool
	stat, nameOnly bool
}

func newWareDiffCmd(a *app) *cobra.Command {
	var f diffFlags
	exact := cobra.ExactArgs(2)
	cmd := &cobra.Command{
		Use:               "diff A B",
		Short:             "Compare wares, directories and archives",
		Long:              wareDiffHelp,
		ValidArgsFunction: completeOperands,
		Args:              func(cmd *cobra.Command, args []string) error { return diffError(exact(cmd, args)) },
		RunE: func(cmd *cobra.Command, args []string) error {
			return diffError(a.wareDiff(cmd.Context(), &f, args[0], args[1]))
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.filters, "filters", "", "what of owners, times and modes of paths counts")
	flags.StringArrayVar(&f.Exclude, "exclude", nil, "leave out what matches this pattern (repeatable)")
	flags.IntVar(&f.Strip, "strip", 0, "drop this many leading path components of archives")
	flags.BoolVar(&f.stat, "stat", false, "show no lines of text, but a summary at the end")
	flags.BoolVar(&f.nameOnly, "name-only", false, "print nothing but the paths")
	jsonFlag(cmd, &f.asJSON)
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return diffError(withHint(err, "See: "+cmd.CommandPath()+" --help"))
	})
	return cmd
}

// completeOperands completes ids and paths.
func completeOperands(cmd *cobra.Command, args []string, toComplete string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) >= 2 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ids, _ := completeWares(2)(cmd, args, toComplete)
	return ids, cobra.ShellCompDirectiveDefault
}

// errDiffer is what kiln ware diff ends with if there is a difference.
var errDiffer = told(withCode(codeDiffer, errors.New("they differ")))

// diffError gives an error the exit code that tells it from a difference.
func diffError(err error) error {
	if err == nil || errors.Is(err, errDiffer) || exitCodeOf(err) != codeError {
		return err
	}
	return withCode(codeTrouble, err)
}

func (a *app) wareDiff(ctx context.Context, f *diffFlags, nameA, nameB string) error {
	if f.stat && f.nameOnly || f.asJSON && (f.stat || f.nameOnly) {
		return errors.New("--stat, --name-only and --json exclude each other")
	}
	if f.Strip < 0 {
		return errors.New("--strip takes a number from 0 on")
	}
	filters, err := pack.ParseFilters(f.filters)
	if err != nil {
		return err
	}
	keep, err := pack.ParseFilters("setid=keep,dev=keep")
	if err != nil {
		return err
	}
	f.Filters = filters.Over(keep)
	open := readWares
	for _, name := range []string{nameA, nameB} {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			open = withWares // an archive needs a place to be unpacked to
		}
	}
	g := a.newGauge(ctx, "comparing", "reading", -1)
	defer g.close()
	f.Progress = g.entries
	return open(func(l *warehouse.Local) error {
		return withOperand(ctx, l, nameA, f.BuildOptions, func(old *operand) error {
			return withOperand(ctx, l, nameB, f.BuildOptions, func(new *operand) error {
				if f.Strip != 0 && !old.archive && !new.archive {
					return errors.New("--strip is for archives, and neither is one")
				}
				g.close()
				return a.tellDiff(ctx, f, old, new)
			})
		})
	})
}

func (a *app) tellDiff(ctx context.Context, f *diffFlags, old, new *operand) error {
	out := bufio.NewWriter(a.stdout)
	t := &diffTeller{ctx: ctx, out: out, old: old, new: new, flags: f, terminal: a.stdoutTerminal(), color: a.coloredStdout()}
	if f.asJSON {
		t.head()
	}
	for d, err := range pack.Diff(old.Listing, new.Listing, f.Exclude) {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = t.tell(&d)
		}
		if err != nil {
			return errors.Join(out.Flush(), err)
		}
	}
	t.end()
	if err := out.Flush(); err != nil {
		return err
	}
	if t.added+t.removed+t.changed > 0 {
		return errDiffer
	}
	return nil
}

// summary tells how many entries differ.
func (t *diffTeller) summary() string {
	if t.added+t.removed+t.changed == 0 {
		return "no difference"
	}
	return fmt.Sprintf("%d added, %d removed, %d changed", t.added, t.removed, t.changed)
}
