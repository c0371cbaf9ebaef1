package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/kilnbuild/kiln/warehouse"
	"github.com/spf13/cobra"
)

const wareShowHelp = `show prints what the warehouse knows of a ware: its tree id, how much it holds, when
it was made, where its fileset lies, by which other ids it is known, and of an image
what its configuration says of containers made of it.`

func newWareShowCmd(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "show ID",
		Short:             "Show what is known of a ware",
		Long:              wareShowHelp,
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
	Packtype string             `json:"packtype"`
	Fileset  string             `json:"fileset"`
	Also     []warehouse.WareID `json:"also"`
	Image    *warehouse.Image   `json:"image,omitempty"`
}

func (a *app) wareShow(ctx context.Context, l *warehouse.Local, prefix string, asJSON bool) error {
	rec, err := findWare(ctx, l, prefix)
	if err != nil {
		return err
	}
	doc := showDoc{wareDocument(rec), rec.ID.Packtype, l.Fileset(rec), []warehouse.WareID{}, rec.Image}
	recs, _ := l.List(ctx) // records that cannot be read have no say
	for _, other := range recs {
		if other.Tree == rec.Tree && other.ID != rec.ID {
			doc.Also = append(doc.Also, other.ID)
		}
	}
	if asJSON {
		return a.printJSON(doc)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	doc.write(w)
	return w.Flush()
}

// write prints it for people, a name and a value on each line.
func (doc *showDoc) write(w io.Writer) {
	line := func(name string, values ...string) {
		for _, value := range values {
			if value != "" {
				fmt.Fprintf(w, "%s\t%s\n", name, harmlessName(value))
			}
		}
	}
	kind := "a directory"
	if doc.File {
		kind = "one file"
	}
	line("id", doc.ID.String())
	line("tree", doc.Tree.String())
	line("holds", fmt.Sprintf("%s, %s, %s (%d bytes)", kind, entries(doc.Entries), byteSize(doc.Bytes), doc.Bytes))
	line("created", doc.Created.Format(time.RFC3339))
	line("fileset", doc.Fileset)
	for _, id := range doc.Also {
		line("also", id.String())
	}
	if i := doc.Image; i != nil {
		line("platform", i.Platform)
		line("entrypoint", words(i.Entrypoint))
		line("command", words(i.Cmd))
		line("user", i.User)
		line("directory", i.WorkingDir)
		line("env", i.Env...)
		for _, name := range slices.Sorted(maps.Keys(i.Labels)) {
			line("label", name+"="+i.Labels[name])
		}
	}
}

// words writes a command so that its words can be told apart: as a JSON list.
func words(list []string) string {
	if len(list) == 0 {
		return ""
	}
	data, _ := json.Marshal(list)
	return string(data)
}

// entries writes "1 entry" and "2 entries".
func entries(n int64) string {
	if n == 1 {
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}
