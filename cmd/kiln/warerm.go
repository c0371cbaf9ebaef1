package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/kilnbuild/kiln/warehouse"
	"github.com/spf13/cobra"
)

const wareRmHelp = `rm removes wares from the local warehouse. A run makes or fetches again what it
needs. If one of the names is wrong, nothing is removed. A step that uses a ware
right now keeps what it has open, and fails at what it has not.`

func newWareRmCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:               "rm ID...",
		Short:             "Remove wares from the warehouse",
		Long:              wareRmHelp,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeWares(0),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.wareRm(cmd.Context(), args) },
	}
}

func (a *app) wareRm(ctx context.Context, prefixes []string) error {
	return withWares(func(l *warehouse.Local) error {
		ids, err := removable(ctx, l, prefixes)
		if err != nil {
			return err
		}
		g := a.newGauge(ctx, "", "removing", 0)
		defer g.close()
		for i, id := range ids {
			g.next(fmt.Sprintf("%d of %s, %s", i+1, count(len(ids), "ware"), shortID(id)), 0)
			if ctx.Err() != nil {
				return errors.Join(err, ctx.Err())
			}
			err = errors.Join(err, l.Remove(id))
		}
		return err
	})
}

// removable returns the ids of the wares named by prefixes. A ware whose record is
// damaged can be named by its whole id.
func removable(ctx context.Context, l *warehouse.Local, prefixes []string) (ids []warehouse.WareID, err error) {
	for _, prefix := range prefixes {
		rec, findErr := findWare(ctx, l, prefix)
		if damaged := (*warehouse.MissingError)(nil); errors.As(findErr, &damaged) && damaged.Reason != nil {
			rec.ID, findErr = warehouse.ParseWareID(prefix)
		}
		ids, err = append(ids, rec.ID), errors.Join(err, findErr)
	}
	return ids, err
}
