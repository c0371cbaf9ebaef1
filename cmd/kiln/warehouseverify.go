package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/fsck"
	"github.com/kilnbuild/kiln/warehouse/gc"
	"github.com/spf13/cobra"
)

const warehouseVerifyHelp = `verify holds every ware of the local warehouse against its id, by reading all files, and
looks at records, aliases and memos. What it finds it prints, one a line:

  corrupt  a ware is not what its id says
  damaged  a record or memo cannot be read; it counts as missing
  stray    a fileset without a record, such as a killed kiln can leave
  stale    an alias or memo of wares that are gone; it counts for nothing

The last two are no loss, and kiln gc removes them. With --quick it reads only those
wares of whose files stat(2) tells something else than what was recorded. With
--repair it removes what it finds: a run makes or fetches again what it needs. kiln
ware verify is about single wares.

Something corrupt or damaged makes kiln exit with 102, also if it was removed.`

type warehouseVerifyFlags struct {
	quick, repair, asJSON bool
}

func newWarehouseVerifyCmd(a *app) *cobra.Command {
	var f warehouseVerifyFlags
	cmd := &cobra.Command{
		Use:        "verify",
		Short:      "Verify all that is in the warehouse",
		Long:       warehouseVerifyHelp,
		Args:       cobra.NoArgs,
		SuggestFor: []string{"fsck", "check", "repair"},
		RunE:       func(cmd *cobra.Command, _ []string) error { return a.warehouseVerify(cmd.Context(), &f) },
	}
	cmd.Flags().BoolVar(&f.quick, "quick", false, "read only what stat(2) says was touched")
	cmd.Flags().BoolVar(&f.repair, "repair", false, "remove what is found")
	jsonFlag(cmd, &f.asJSON)
	return cmd
}

// A warehouseVerifyDoc is what kiln warehouse verify --json prints.
type warehouseVerifyDoc struct {
	*fsck.Report
	Findings []fsck.Finding `json:"findings"`
}

func (a *app) warehouseVerify(ctx context.Context, f *warehouseVerifyFlags) error {
	return a.withHouse(f.repair, func(o gc.Options) error {
		g := a.newGauge(ctx, "", "verifying", 0)
		defer g.close()
		doc := warehouseVerifyDoc{Findings: []fsck.Finding{}}
		var err error
		doc.Report, err = fsck.Check(ctx, fsck.Options{
			Warehouse: o.Warehouse, Memos: o.Memos, Repair: f.repair,
			Verify: func(ctx context.Context, rec warehouse.Record) error {
				return pack.Verify(ctx, o.Warehouse, rec.ID, pack.VerifyOptions{Deep: !f.quick})
			},
			Corrupt:  func(err error) bool { return errors.Is(err, pack.ErrCorrupt) },
			Progress: func(what string, done, of int) { g.of(int64(done), int64(of)) },
			Found: func(found fsck.Finding) {
				if f.asJSON {
					doc.Findings = append(doc.Findings, found)
					return
				}
				g.aside(func() { fmt.Fprintln(a.stdout, findingLine(found)) })
			},
		})
		g.close()
		if f.asJSON {
			err = errors.Join(a.printJSON(doc), err)
		} else {
			fmt.Fprintf(a.stderr, "looked at %s, %s and %s\n", count(doc.Wares, "ware"), aliases(doc.Aliases), count(doc.Memos, "memo"))
		}
		if bad := doc.Bad(); bad > 0 {
			err = errors.Join(err, verifyError(bad, f.repair))
		}
		return err
	})
}

func aliases(n int) string {
	if n == 1 {
		return "1 alias"
	}
	return fmt.Sprintf("%d aliases", n)
}

func findingLine(f fsck.Finding) string {
	line := fmt.Sprintf("%-8s %s  %s", f.Kind, f.Name, harmless(f.Why, false))
	if f.Repaired {
		line += "; removed"
	}
	return line
}

func verifyError(bad int, repaired bool) error {
	what := "1 thing is"
	if bad > 1 {
		what = fmt.Sprintf("%d things are", bad)
	}
	err := fmt.Errorf("%s not what was put into the warehouse", what)
	if !repaired {
		err = withHint(err, "Remove what is listed with --repair: a run makes or fetches again what it needs.")
	}
	return withCode(codeMismatch, err)
}
