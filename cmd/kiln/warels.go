package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/spf13/cobra"
)

const wareLsHelp = `Without an argument, ls lists the wares of the local warehouse: id, how many
entries, how much content, when it was made, and the tree id of its fileset where
that is not the id.

With an ID it lists what the ware holds, all of it or what is below PATH: type and
mode, owner and group, size, mtime in UTC, path, and where a symlink leads. That is
what was hashed: filters have been applied, and what lies on disk was not looked at
(kiln ware verify does that). Characters that a terminal would not show are written
as \xNN or \uNNNN; --json has them as they are.`

func newWareLsCmd(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:               "ls [ID [PATH]]",
		Short:             "List the wares of the warehouse, or what one of them holds",
		Long:              wareLsHelp,
		Args:              cobra.MaximumNArgs(2),
		ValidArgsFunction: completeEntries,
		RunE: func(cmd *cobra.Command, args []string) error {
			return readWares(func(l *warehouse.Local) error {
				if len(args) == 0 {
					return a.wareLs(cmd.Context(), l, asJSON)
				}
				f, e, err := openEntry(cmd.Context(), l, args[0], strings.Join(args[1:], ""))
				switch {
				case err != nil:
					return err
				case asJSON:
					return entriesJSON(a.stdout, f, e)
				}
				return a.entriesText(f, e)
			})
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

// wareLs lists all wares. Records that cannot be read are an error, at the end.
func (a *app) wareLs(ctx context.Context, l *warehouse.Local, asJSON bool) error {
	recs, err := l.List(ctx)
	if asJSON {
		docs := make([]wareDoc, len(recs))
		for i, rec := range recs {
			docs[i] = wareDocument(rec)
		}
		return errors.Join(a.printJSON(docs), err)
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, rec := range recs {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s", rec.ID, rec.Entries, byteSize(rec.Bytes), rec.Created.Local().Format(timeLayout))
		if rec.Tree != rec.ID {
			fmt.Fprintf(w, "\t%s", rec.Tree)
		}
		fmt.Fprintln(w)
	}
	return errors.Join(w.Flush(), err)
}

// wareDoc is a ware in what kiln ware ls --json prints.
type wareDoc struct {
	ID      warehouse.WareID `json:"id"`
	Tree    warehouse.WareID `json:"tree"`
	File    bool             `json:"file"`
	Entries int64            `json:"entries"`
	Bytes   int64            `json:"bytes"`
	Created time.Time        `json:"created"`
}

func wareDocument(r warehouse.Record) wareDoc {
	return wareDoc{r.ID, r.Tree, r.File, r.Entries, r.Bytes, r.Created}
}

// entriesText writes e and what is below it, one entry a line. Columns become wider
// as they need to.
func (a *app) entriesText(f *pack.Fileset, e pack.ListedEntry) error {
	out := bufio.NewWriter(a.stdout)
	owner, size := 3, 8
	for e, err := range f.Below(e) {
		if err != nil {
			return errors.Join(out.Flush(), err)
		}
		who := fmt.Sprintf("%d:%d", e.UID, e.GID)
		much := fmt.Sprint(e.Size)
		switch e.Kind {
		case pack.KindBlock, pack.KindChar:
			much = fmt.Sprintf("%d,%d", e.Major, e.Minor)
		case pack.KindFile:
		default:
			much = "-"
		}
		owner, size = max(owner, len(who)), max(size, len(much))
		fmt.Fprintf(out, "%s  %-*s  %*s  %s  %s", modeText(&e), owner, who, size, much, mtimeText(&e, timeLayout), harmlessName(shownPath(e.Path)))
		if e.Kind == pack.KindSymlink {
			fmt.Fprintf(out, " -> %s", harmlessName(e.Link))
		}
		if _, err := fmt.Fprintln(out); err != nil {
			return err
		}
	}
	return out.Flush()
}

// entriesJSON writes them as one JSON document, an entry a line, as it reads them: a
// ware may have millions.
func entriesJSON(w io.Writer, f *pack.Fileset, e pack.ListedEntry) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "{\"id\": %q, \"tree\": %q, \"entries\": [", f.ID, f.Tree)
	comma := ""
	for e, err := range f.Below(e) {
		if err != nil {
			return errors.Join(out.Flush(), err)
		}
		out.WriteString(comma)
		if err := writeJSONLine(out, entryDocument(&e)); err != nil {
			return err
		}
		comma = ","
	}
	fmt.Fprint(out, "\n]}\n")
	return out.Flush()
}
