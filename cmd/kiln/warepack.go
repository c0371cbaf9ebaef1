package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/archive"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/spf13/cobra"
)

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
	flags.StringVar(&f.Packtype, "packtype", pack.Tree, "how the ware is hashed: tree, tar or zip")
	flags.StringVar(&f.filters, "filters", "", "what of owners, times and modes counts")
	flags.StringArrayVar(&f.Include, "include", nil, "take only what matches this pattern (can be repeated)")
	flags.StringArrayVar(&f.Exclude, "exclude", nil, "leave out what matches this pattern (can be repeated)")
	flags.BoolVar(&f.archive, "archive", false, "PATH is a zip archive, or a tar archive, plain or compressed: pack what is in it")
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
