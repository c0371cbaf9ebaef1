package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/archive"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/spf13/cobra"
)

// packFiltersHelp says what filters of packing are.
var packFiltersHelp = `Filters are KEY=VALUE, comma separated: uid and gid take keep or a number; mtime
keep, @SECONDS or a date; sticky keep or ignore; setid and dev keep, ignore or
reject. Where they say nothing they are ` + pack.DefaultFilters().String() + `.`

const patternsHelp = `Patterns match paths from the root of what is packed; ** crosses directories.`

// warePackFlags are the flags of kiln ware pack.
type warePackFlags struct {
	pack.BuildOptions
	filters         string
	ref             string
	archive, idOnly bool
}

func newWarePackCmd(a *app) *cobra.Command {
	var f warePackFlags
	cmd := &cobra.Command{
		Use:   "pack PATH",
		Short: "Copy a directory, a file or what is in an archive into the warehouse",
		Long: `pack copies a directory or a file into the local warehouse and prints its ware id.
With --archive, PATH is a zip archive, or a tar archive, plain or compressed by gzip,
bzip2, xz or zstd, and what is in it is packed; - is an archive on standard input.
With --packtype git, PATH is a git repository or the URL of one, and the commit that
--ref names is packed, with its submodules.

Of a directory packed before, only files that have changed by their stat are read, and
nothing is copied if its ware is there.

` + packFiltersHelp + `

` + patternsHelp + ` The limits
are for archives, which may unpack to more than a disk holds; --max-ratio counts from ` + byteSize(pack.RatioFloor) + ` on.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return a.warePack(cmd.Context(), &f, args[0]) },
	}
	addPackFlags(cmd.Flags(), &f.BuildOptions)
	cmd.Flags().Lookup("packtype").Usage += "; git for a commit"
	cmd.Flags().StringVar(&f.filters, "filters", "", "what of owners, times and modes counts")
	cmd.Flags().BoolVar(&f.archive, "archive", false, "PATH is an archive: pack what is in it")
	cmd.Flags().StringVar(&f.ref, "ref", "", "with --packtype git: the branch, tag or commit (default HEAD)")
	cmd.Flags().BoolVar(&f.idOnly, "id-only", false, "print the ware id, store nothing")
	return cmd
}

func (a *app) warePack(ctx context.Context, f *warePackFlags, path string) error {
	if err := checkPackFlags(&f.BuildOptions); err != nil {
		return err
	}
	var err error
	if f.Filters, err = pack.ParseFilters(f.filters); err != nil {
		return err
	}
	if f.isGit() {
		return a.packCommit(ctx, f, path)
	}
	if f.ref != "" {
		return errors.New("--ref needs --packtype git")
	}
	if f.archive = f.archive || path == "-"; f.Strip != 0 && !f.archive {
		return errors.New("--strip needs --archive")
	}
	g := a.newGauge(ctx, filepath.Base(path), "packing", -1)
	defer g.close()
	f.Progress = g.entries
	if dir, err := cacheDir("plan"); err == nil && !f.archive { // it only saves time
		f.Cache, _ = plan.StatCache(dir, path, f.Options)
	}
	if f.idOnly && !f.archive {
		r, err := pack.Scan(ctx, path, f.Options)
		return a.printID(g, r.ID, err)
	}
	return withWares(func(l *warehouse.Local) error {
		id, err := f.pack(ctx, l, path)
		if err == nil && !f.idOnly {
			err = l.Sync()
		}
		return a.printID(g, id, err)
	})
}

// printID prints the one result of a verb, unless there is an error.
func (a *app) printID(g *gauge, id warehouse.WareID, err error) error {
	if err == nil {
		g.aside(func() { _, err = fmt.Fprintln(a.stdout, id) })
	}
	return err
}

func (f *warePackFlags) pack(ctx context.Context, l *warehouse.Local, path string) (id warehouse.WareID, err error) {
	if !f.archive {
		rec, err := pack.Ingest(ctx, l, path, f.Options)
		return rec.ID, err
	}
	if f.idOnly {
		f.Visit = func(s *pack.Fileset) error { id = s.ID; return nil }
	}
	file := os.Stdin
	if f.Name = "standard input"; path != "-" {
		if file, err = os.Open(path); err != nil {
			return id, err
		}
		defer file.Close()
		f.Name = filepath.Base(path)
	}
	rec, err := archive.Unpack(ctx, l, interruptible(ctx, file), f.BuildOptions)
	if !f.idOnly {
		id = rec.ID
	}
	return id, err
}

// interruptible returns a reader of file that ends with ctx, also while a pipe has
// nothing to read.
func interruptible(ctx context.Context, file *os.File) io.Reader {
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		return file // never waits, and zip archives are read from where they lie
	}
	r, w := io.Pipe()
	context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{file}, make([]byte, 256<<10))
		w.CloseWithError(err)
	}()
	return r
}
