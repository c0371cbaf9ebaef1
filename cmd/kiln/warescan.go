package main

import (
	"context"
	"strings"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/spf13/cobra"
)

var wareScanHelp = `scan prints the ware id of what lies elsewhere, and keeps none of it: what a ware
block with this url would be, or a ware packed from a file or directory. An archive is
unpacked for as long as it takes, which needs room in the warehouse. What is named as
something else, such as a .jar, counts as a file although it is a zip archive inside.

` + packFiltersHelp + `
For tar and zip they are those of rio scan instead, ` + pack.RioScanFilters().String() + `:
the id is the one that catalogs of warpforge have. The words of rio scan, such as
follow, are understood as well.

` + patternsHelp

// wareScanFlags are the flags of kiln ware scan.
type wareScanFlags struct {
	plan.ScanOptions
	filters string
	asJSON  bool
}

func newWareScanCmd(a *app) *cobra.Command {
	var f wareScanFlags
	cmd := &cobra.Command{
		Use:   "scan URL|FILE|DIR",
		Short: "Print the ware id of an archive, a file or a directory anywhere",
		Long:  wareScanHelp,
		Args:  cobra.ExactArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return a.wareScan(cmd.Context(), &f, args[0]) },
	}
	addPackFlags(cmd.Flags(), &f.BuildOptions)
	cmd.Flags().StringVar(&f.filters, "filters", "", "what of owners, times and modes counts")
	cmd.Flags().StringVar(&f.SHA256, "sha256", "", "what the SHA-256 of the url's or the file's bytes must be, in `hex`")
	cmd.Flags().BoolVar(&f.Offline, "offline", false, "fail rather than use the network")
	jsonFlag(cmd, &f.asJSON)
	return cmd
}

// scanDoc is what kiln ware scan --json prints.
type scanDoc struct {
	ID      warehouse.WareID `json:"id"`
	Tree    warehouse.WareID `json:"tree"`
	File    bool             `json:"file"`
	Entries int64            `json:"entries"`
	Bytes   int64            `json:"bytes"`
	SHA256  string           `json:"sha256,omitempty"`
}

func (a *app) wareScan(ctx context.Context, f *wareScanFlags, what string) (err error) {
	if err := checkPackFlags(&f.BuildOptions); err != nil {
		return err
	}
	if f.Filters, err = scanFilters(f.filters, f.Packtype); err != nil {
		return err
	}
	if f.CacheDir, err = cacheDir("plan"); err != nil {
		return err
	}
	scan, verb := plan.ScanFile, "reading"
	if strings.Contains(what, "://") {
		scan, verb = plan.ScanURL, "fetching"
	}
	name := what[strings.LastIndexByte(strings.TrimRight(what, "/"), '/')+1:]
	g := a.newGauge(ctx, name, verb, -1)
	defer g.close()
	f.Downloading = func(done, total int64) { g.of(done, total) }
	f.Progress = func(_, bytes int64) { g.doing("scanning", bytes) }
	return withWares(func(l *warehouse.Local) error {
		f.Warehouse = l
		s, err := scan(ctx, what, f.ScanOptions)
		switch {
		case err != nil:
			return sourceError(err, err)
		case f.asJSON:
			g.aside(func() { err = a.printJSON(scanDoc{s.ID, s.Tree, s.File, s.Entries, s.Bytes, s.SHA256}) })
			return err
		}
		return a.printID(g, s.ID, nil)
	})
}

// scanFilters reads filters in the words of packing or of unpacking.
func scanFilters(text, packtype string) (pack.Filters, error) {
	f, err := pack.ParseFilters(text)
	if err != nil {
		unpack, unpackErr := pack.ParseUnpackFilters(text)
		if unpackErr != nil {
			return f, err
		}
		f = unpack
	}
	if packtype != pack.Tree {
		f = f.Over(pack.RioScanFilters())
	}
	return f, nil
}
