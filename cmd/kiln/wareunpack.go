package main

import (
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/spf13/cobra"
)

func newWareUnpackCmd(*app) *cobra.Command {
	return &cobra.Command{
		Use:   "unpack ID DIR",
		Short: "Copy a ware out of the warehouse",
		Long: `unpack copies a ware to DIR, which must be missing or an empty directory.
A ware that is one file becomes the file DIR. ID may be the beginning of one.`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completeWares(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return readWares(func(l *warehouse.Local) error {
				rec, err := findWare(cmd.Context(), l, args[0])
				if err != nil {
					return err
				}
				return pack.Export(cmd.Context(), l, rec.ID, args[1])
			})
		},
	}
}
