package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/kilnbuild/kiln/warehouse"
	"github.com/spf13/cobra"
)

func newWareShowCmd(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "show ID",
		Short:             "Show what is known of a ware",
		Long:              `show prints what the warehouse knows of a ware, and where its fileset lies.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: completeWares(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return readWares(func(l *warehouse.Local) error { return a.wareShow(cmd.Context(), l, args[0], asJSON) })
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// showDoc is what kiln ware show --json prints.
type showDoc struct {
	wareDoc
	Packtype string `json:"packtype"`
	Fileset  string `json:"fileset"`
}

func (a *app) wareShow(ctx context.Context, l *warehouse.Local, prefix string, asJSON bool) error {
	rec, err := findWare(ctx, l, prefix)
	if err != nil {
		return err
	}
	doc := showDoc{wareDocument(rec), rec.ID.Packtype, l.Fileset(rec)}
	if asJSON {
		return a.printJSON(doc)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "id\t%s\n", doc.ID)
	fmt.Fprintf(w, "tree\t%s\n", doc.Tree)
	kind := "a directory"
	if doc.File {
		kind = "one file"
	}
	fmt.Fprintf(w, "holds\t%s, %s, %s (%d bytes)\n", kind, entries(doc.Entries), byteSize(doc.Bytes), doc.Bytes)
	fmt.Fprintf(w, "created\t%s\n", doc.Created.Format(time.RFC3339))
	_, err = fmt.Fprintf(w, "fileset\t%s\n", doc.Fileset)
	return errors.Join(err, w.Flush())
}

// entries writes "1 entry" and "2 entries".
func entries(n int64) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}
