package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/spf13/cobra"
)

const wareVerifyHelp = `verify looks whether wares still are what their ids say, all of them if none is
named, and prints a line for each. It compares what stat(2) says of every file with
what was recorded, and reads those wares whose files were touched. With --deep it
reads all files: that also finds what a failing disk, or somebody who can set the
clock, has done.

A ware that was changed makes kiln exit with 102.`

func newWareVerifyCmd(a *app) *cobra.Command {
	var deep bool
	cmd := &cobra.Command{
		Use:               "verify [ID...]",
		Short:             "Verify that wares are what their ids say",
		Long:              wareVerifyHelp,
		SuggestFor:        []string{"check", "fsck", "audit"},
		ValidArgsFunction: completeWares(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			return verifiableWares(func(l *warehouse.Local) error { return a.wareVerify(cmd.Context(), l, args, deep) })
		},
	}
	cmd.Flags().BoolVar(&deep, "deep", false, "read all files, whatever stat(2) says of them")
	return cmd
}

// verifiableWares opens the warehouse so that what verifying it found can be noted
// there, if it can be written to.
func verifiableWares(f func(*warehouse.Local) error) error {
	if _, err := dataDir("warehouse"); err != nil {
		return readWares(f)
	}
	return withWares(f)
}

func (a *app) wareVerify(ctx context.Context, l *warehouse.Local, prefixes []string, deep bool) error {
	recs, err := findWares(ctx, l, prefixes)
	if err != nil && len(prefixes) > 0 {
		return err
	}
	g := a.newGauge(ctx, "", "verifying", 0)
	defer g.close()
	changed, errs := 0, []error{err} // which is of records that cannot be read
	for i, rec := range recs {
		g.next(fmt.Sprintf("%d of %s, %s", i+1, count(len(recs), "ware"), shortID(rec.ID)), rec.Bytes)
		err := pack.Verify(ctx, l, rec.ID, pack.VerifyOptions{Deep: deep, Progress: g.entries})
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil:
			g.aside(func() { fmt.Fprintf(a.stdout, "ok       %s\n", rec.ID) })
		case errors.Is(err, pack.ErrCorrupt):
			changed++
			g.aside(func() { fmt.Fprintf(a.stdout, "changed  %s  %s\n", rec.ID, harmless(whyChanged(err), false)) })
		case !errors.Is(err, warehouse.ErrMissing): // else removed meanwhile
			errs = append(errs, err)
		}
	}
	if changed > 0 {
		errs = append(errs, fmt.Errorf("%d of %s: %w", changed, count(len(recs), "ware"), pack.ErrCorrupt))
	}
	return errors.Join(errs...)
}

// whyChanged is the part of a verification's error that is not in every one.
func whyChanged(err error) string {
	if entry := (*pack.EntryError)(nil); errors.As(err, &entry) {
		return entry.Error()
	}
	_, why, _ := strings.Cut(err.Error(), pack.ErrCorrupt.Error()+": ")
	return why
}
