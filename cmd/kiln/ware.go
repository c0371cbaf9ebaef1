package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/archive"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/spf13/cobra"
)

func newWareCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ware",
		Short: "Pack, unpack, list, check and remove wares of the local warehouse",
		Args:  cobra.ArbitraryArgs,
		RunE:  runGroup,
	}
	cmd.AddCommand(newWarePackCmd(a), newWareUnpackCmd(a), newWareLsCmd(a), newWareCheckCmd(a), newWareRmCmd(a))
	return cmd
}

// withWares opens the local warehouse for f, and gives f's error its exit code.
func withWares(f func(l *warehouse.Local) error) error {
	dir, err := dataDir("warehouse")
	if err != nil {
		return err
	}
	l, err := warehouse.OpenLocal(dir)
	if err != nil {
		return err
	}
	defer l.Close()
	return wareError(f(l))
}

func wareError(err error) error {
	switch {
	case errors.Is(err, pack.ErrCorrupt):
		return withCode(codeMismatch, withHint(err, "Something changed it on disk. Remove it with kiln ware rm; a run makes or fetches it again."))
	case errors.Is(err, warehouse.ErrMissing):
		return withCode(codeMissing, err)
	}
	return err
}

// warePackFlags are the flags of kiln ware pack.
type warePackFlags struct {
	pack.BuildOptions
	filters         string
	archive, idOnly bool
}

func newWarePackCmd(a *app) *cobra.Command {
	var f warePackFlags
	cmd := &cobra.Command{
		Use:   "pack PATH",
		Short: "Copy a directory or a file into the warehouse as a ware",
		Long: `pack copies a directory or a file into the local warehouse and prints its ware id.

Filters are KEY=VALUE, comma separated: uid and gid take keep or a number; mtime
keep, @SECONDS or a date; sticky keep or ignore; setid and dev keep, ignore or
reject. Where they say nothing they are ` + pack.DefaultFilters().String() + `.

Patterns match paths from the root of what is packed; ** crosses directories.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.warePack(cmd.Context(), &f, args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.Packtype, "packtype", pack.Tree, "how the ware is hashed: tree or tar")
	flags.StringVar(&f.filters, "filters", "", "what of owners, times and modes counts")
	flags.StringArrayVar(&f.Include, "include", nil, "take only what matches this pattern (can be repeated)")
	flags.StringArrayVar(&f.Exclude, "exclude", nil, "leave out what matches this pattern (can be repeated)")
	flags.BoolVar(&f.archive, "archive", false, "PATH is a tar archive, plain or compressed: pack what is in it")
	flags.IntVar(&f.Strip, "strip", 0, "with --archive: drop this many leading path components")
	flags.BoolVar(&f.idOnly, "id-only", false, "print the ware id, store nothing")
	return cmd
}

func (a *app) warePack(ctx context.Context, f *warePackFlags, path string) error {
	var err error
	if f.Filters, err = pack.ParseFilters(f.filters); err != nil {
		return err
	}
	if f.idOnly && f.archive || f.Strip != 0 && !f.archive || f.Strip < 0 {
		return errors.New("--strip needs --archive, and --id-only excludes it")
	}
	if f.idOnly {
		r, err := pack.Scan(ctx, path, f.Options)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.stdout, r.ID)
		return err
	}
	return withWares(func(l *warehouse.Local) error {
		rec, err := f.pack(ctx, l, path)
		if err == nil {
			err = l.Sync()
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(a.stdout, rec.ID)
		return err
	})
}

func (f *warePackFlags) pack(ctx context.Context, l *warehouse.Local, path string) (warehouse.Record, error) {
	if !f.archive {
		return pack.Ingest(ctx, l, path, f.Options)
	}
	file, err := os.Open(path)
	if err != nil {
		return warehouse.Record{}, err
	}
	defer file.Close()
	f.Name = filepath.Base(path)
	return archive.Unpack(ctx, l, file, f.BuildOptions)
}

func newWareUnpackCmd(*app) *cobra.Command {
	return &cobra.Command{
		Use:   "unpack ID DIR",
		Short: "Copy a ware out of the warehouse",
		Long: `unpack copies a ware to DIR, which must be missing or an empty directory.
A ware that is one file becomes the file DIR. ID may be the beginning of one.`,
		Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withWares(func(l *warehouse.Local) error {
				rec, err := l.Find(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				return pack.Export(cmd.Context(), l, rec.ID, args[1])
			})
		},
	}
}

func newWareLsCmd(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the wares of the warehouse: id, entries, bytes, when it was made",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return withWares(func(l *warehouse.Local) error {
				recs, err := l.List(cmd.Context())
				if asJSON {
					return errors.Join(a.printJSON(wareDocument(recs)), err)
				}
				w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
				for _, rec := range recs {
					fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", rec.ID, rec.Entries, rec.Bytes, rec.Created.Format(time.RFC3339))
				}
				return errors.Join(w.Flush(), err)
			})
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
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

func wareDocument(recs []warehouse.Record) []wareDoc {
	docs := make([]wareDoc, len(recs))
	for i, r := range recs {
		docs[i] = wareDoc{r.ID, r.Tree, r.File, r.Entries, r.Bytes, r.Created}
	}
	return docs
}

func newWareCheckCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "check [ID...]",
		Short: "Check that wares are what their ids say; all of them if none is named",
		RunE: func(cmd *cobra.Command, args []string) error {
			return withWares(func(l *warehouse.Local) error {
				recs, err := findAll(cmd.Context(), l, args)
				for _, rec := range recs {
					err = errors.Join(err, pack.Check(cmd.Context(), l, rec.ID))
				}
				return err
			})
		},
	}
}

// findAll returns the wares named by prefixes, or all.
func findAll(ctx context.Context, l *warehouse.Local, prefixes []string) (recs []warehouse.Record, err error) {
	if len(prefixes) == 0 {
		return l.List(ctx)
	}
	for _, prefix := range prefixes {
		rec, findErr := l.Find(ctx, prefix)
		if err = errors.Join(err, findErr); findErr == nil {
			recs = append(recs, rec)
		}
	}
	return recs, err
}

func newWareRmCmd(*app) *cobra.Command {
	return &cobra.Command{
		Use:   "rm ID...",
		Short: "Remove wares from the warehouse; a run makes or fetches again what it needs",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return withWares(func(l *warehouse.Local) error {
				recs, err := findAll(cmd.Context(), l, args)
				if err != nil {
					return err // nothing is removed if one name is wrong
				}
				for _, rec := range recs {
					err = errors.Join(err, l.Remove(rec.ID))
				}
				return err
			})
		},
	}
}
