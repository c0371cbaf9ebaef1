package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/spf13/cobra"
)

// unpackFilters are those of rio unpack.
var unpackFilters = pack.RioUnpackFilters()

var wareUnpackHelp = `unpack copies a ware out of the warehouse to DEST:

` + destinationHelp + `

The copy is made beside DEST and renamed when it is whole; its content is compared
with the ware's id on the way. Of an image, which has the ware as its only layer, the
id is printed.

Filters are for directories and files. They are KEY=VALUE, comma separated: uid and
gid take follow (as in the ware), mine or a number; mtime follow, now, @SECONDS or a
date; sticky follow or ignore; setid and dev follow, ignore or reject. Where they say
nothing they are ` + unpackFilters.String() + `.
To give files to somebody else, as uid=follow may, takes root.`

func newWareUnpackCmd(a *app) *cobra.Command {
	var filters string
	var overwrite bool
	cmd := &cobra.Command{
		Use:               "unpack ID DEST",
		Short:             "Copy a ware out of the warehouse",
		Long:              wareUnpackHelp,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeWares(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := pack.ParseUnpackFilters(filters)
			if err != nil {
				return err
			}
			d, err := parseDestination(args[1])
			if err == nil {
				err = d.check(overwrite)
			}
			if err == nil && filters != "" && d.kind != toDir {
				err = errors.New("--filters are for directories and files: an archive says what the ware says")
			}
			if err != nil {
				return err
			}
			return a.wareUnpack(cmd.Context(), args[0], &d, f, overwrite)
		},
	}
	cmd.Flags().StringVar(&filters, "filters", "", "what becomes of owners, times and modes")
	cmd.Flags().BoolVar(&overwrite, "overwrite", false, "write over a file")
	return cmd
}

func (a *app) wareUnpack(ctx context.Context, prefix string, d *destination, f pack.Filters, overwrite bool) error {
	return readWares(func(l *warehouse.Local) error {
		rec, err := findWare(ctx, l, prefix)
		if err != nil {
			return err
		}
		total := rec.Bytes
		if d.kind != toDir {
			total = -1 // an archive may be smaller
		}
		g := a.newGauge(ctx, shortID(rec.ID), "unpacking", total)
		defer g.close()
		x, err := a.newExporter(l)
		if err != nil {
			return err
		}
		x.overwrite, x.filters = overwrite, f.Over(unpackFilters)
		x.progress = g.at
		made, err := x.export(ctx, rec.ID, d)
		if err == nil && d.isImage() && !d.stdout() {
			_, err = fmt.Fprintln(a.stdout, made)
		}
		return err
	})
}
