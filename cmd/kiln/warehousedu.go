package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/kilnbuild/kiln/warehouse/gc"
	"github.com/spf13/cobra"
)

const warehouseDuHelp = `du says what kiln keeps on disk: by what it is, by what holds it, and which wares are
the largest. Sizes are the blocks that files take on disk. A ware counts for the
first of these that holds it: a formula in use, a running kiln, a memo; one that
nothing holds is there because it was packed or fetched. Caches can be made again.`

func newWarehouseDuCmd(a *app) *cobra.Command {
	var asJSON bool
	var top int
	cmd := &cobra.Command{
		Use:        "du",
		Short:      "Say what takes how much room on disk",
		Long:       warehouseDuHelp,
		Args:       cobra.NoArgs,
		SuggestFor: []string{"size", "df", "stat"},
		RunE: func(cmd *cobra.Command, _ []string) error {
			if top < 0 {
				return fmt.Errorf("--top %d: want a number from 0 on", top)
			}
			return a.warehouseDu(cmd.Context(), top, asJSON)
		},
	}
	cmd.Flags().IntVar(&top, "top", 10, "how many of the largest wares are named")
	jsonFlag(cmd, &asJSON)
	return cmd
}

func (a *app) warehouseDu(ctx context.Context, top int, asJSON bool) error {
	return a.withHouse(false, func(o gc.Options) error {
		s, err := a.survey(ctx, o)
		if err != nil {
			return err
		}
		s.Largest = s.Largest[:min(len(s.Largest), top)]
		if asJSON {
			return a.printJSON(s)
		}
		w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "%s\tin all\n\nby what it is\n", byteSize(s.Total))
		tellShares(w, s.Kinds)
		fmt.Fprintf(w, "\nwares and memos by what holds them\n")
		tellShares(w, s.Holders)
		if len(s.Largest) > 0 {
			fmt.Fprintf(w, "\nlargest wares\n")
		}
		for _, i := range s.Largest {
			fmt.Fprintf(w, "%s\t%s\tused %s\n", byteSize(i.Disk), i.Name, i.Used.Local().Format(timeLayout))
		}
		return w.Flush()
	})
}

func tellShares(w *tabwriter.Writer, shares []gc.Share) {
	for _, s := range shares {
		fmt.Fprintf(w, "%s\t%s\t%d\n", byteSize(s.Disk), harmlessName(s.Name), s.Count)
	}
}
