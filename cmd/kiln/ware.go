package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/spf13/cobra"
)

const wareHelp = `Look at the wares of the local warehouse, bring things in and take them out.

Wherever a ware is asked for, the beginning of its id is enough, with or without
its packtype, as long as only one ware's id begins so.`

func newWareCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ware",
		Short: "Pack, unpack, list, compare, verify and remove wares",
		Long:  wareHelp,
		Args:  cobra.ArbitraryArgs,
		RunE:  runGroup,
	}
	cmd.AddCommand(newWarePackCmd(a), newWareUnpackCmd(a), newWareLsCmd(a), newWareShowCmd(a), newWareCatCmd(a),
		newWareDiffCmd(a), newWareScanCmd(a), newWareVerifyCmd(a), newWareRmCmd(a))
	return cmd
}

// withWares opens the local warehouse for f, and gives f's error its exit code. A
// collector sees that somebody is at work.
func withWares(f func(l *warehouse.Local) error) error {
	return withLocal(func(l *warehouse.Local) error {
		if err := l.Hold(); err != nil {
			return err
		}
		return f(l)
	})
}

// withLocal is withWares for a collector.
func withLocal(f func(l *warehouse.Local) error) error {
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

// readWares is withWares for what only looks: the warehouse may be read-only.
func readWares(f func(l *warehouse.Local) error) error {
	base, err := homePath("KILN_DATA_HOME", "XDG_DATA_HOME", ".local/share")
	if err != nil {
		return err
	}
	l, err := warehouse.OpenReader(filepath.Join(base, "warehouse"))
	if err != nil {
		return err
	}
	defer l.Close()
	return wareError(f(l))
}

func wareError(err error) error {
	var coded *codedError
	switch {
	case errors.As(err, &coded):
	case errors.Is(err, warehouse.ErrOtherTree):
		return withCode(codeMismatch, withHint(err, "Whoever made the one here or this one changed what the id does not cover. To take this one instead, remove the other with kiln ware rm."))
	case errors.Is(err, pack.ErrCorrupt):
		return withCode(codeMismatch, withHint(err, "Something changed it on disk. Remove it with kiln ware rm; a run makes or fetches it again."))
	case errors.Is(err, warehouse.ErrMismatch):
		return withCode(codeMismatch, err)
	case errors.Is(err, warehouse.ErrMissing):
		return withCode(codeMissing, err)
	}
	return err
}

// findWare returns the ware whose id begins with prefix. If there is none, or several,
// a hint names those that could be meant.
func findWare(ctx context.Context, l *warehouse.Local, prefix string) (warehouse.Record, error) {
	rec, err := l.Find(ctx, prefix)
	var ambiguous *warehouse.AmbiguousError
	switch {
	case errors.As(err, &ambiguous):
		return rec, withHint(fmt.Errorf("ware %s: the ids of %d wares begin so", prefix, len(ambiguous.IDs)),
			"Give more of the id: "+listIDs(ambiguous.IDs, "or"))
	case errors.Is(err, warehouse.ErrMissing):
		recs, _ := l.List(ctx)
		if near := nearIDs(prefix, recs); len(near) > 0 {
			return rec, withHint(err, "Did you mean "+listIDs(near, "or")+"?")
		}
		return rec, withHint(err, "kiln ware ls lists what is.")
	}
	return rec, err
}

// findWares returns the wares named by prefixes, each once, or all if none is named.
func findWares(ctx context.Context, l *warehouse.Local, prefixes []string) (recs []warehouse.Record, err error) {
	if len(prefixes) == 0 {
		return l.List(ctx)
	}
	seen := map[warehouse.WareID]bool{}
	var errs []error
	for _, prefix := range prefixes {
		rec, err := findWare(ctx, l, prefix)
		if err != nil {
			errs = append(errs, err)
		} else if !seen[rec.ID] {
			seen[rec.ID] = true
			recs = append(recs, rec)
		}
	}
	return recs, errors.Join(errs...)
}

// listIDs writes at most ten ids as a list in a sentence.
func listIDs(ids []warehouse.WareID, last string) string {
	const most = 10
	var names []string
	for _, id := range ids[:min(len(ids), most)] {
		names = append(names, id.String())
	}
	if len(ids) > most {
		return strings.Join(names, ", ") + fmt.Sprintf(" and %d more", len(ids)-most)
	}
	if len(names) == 1 {
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " " + last + " " + names[len(names)-1]
}

// nearIDs returns the wares, at most three, whose ids begin almost with prefix.
func nearIDs(prefix string, recs []warehouse.Record) (near []warehouse.WareID) {
	if _, hash, ok := strings.Cut(prefix, ":"); ok {
		prefix = hash
	}
	best := len(prefix)/4 + 1 // a quarter of it may be wrong
	for _, rec := range recs {
		hash := rec.ID.Hash
		d := levenshtein.Distance(prefix, hash[:min(len(hash), len(prefix))], nil)
		if d < best {
			best, near = d, nil
		}
		if d == best && d < len(prefix) && len(near) < 3 {
			near = append(near, rec.ID)
		}
	}
	return near
}

// completeWares completes ware ids, for the first most arguments (0: for all).
func completeWares(most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, toComplete string) (ids []cobra.Completion, _ cobra.ShellCompDirective) {
		if most > 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveDefault
		}
		_ = readWares(func(l *warehouse.Local) error {
			recs, err := l.List(cmd.Context())
			for _, rec := range recs {
				if id := rec.ID.String(); strings.HasPrefix(id, toComplete) {
					ids = append(ids, cobra.CompletionWithDesc(id, fmt.Sprintf("%s, %s, %s", entries(rec.Entries), byteSize(rec.Bytes), rec.Created.Local().Format(timeLayout))))
				} else if strings.HasPrefix(rec.ID.Hash, toComplete) {
					ids = append(ids, rec.ID.Hash)
				}
			}
			return err
		})
		return ids, cobra.ShellCompDirectiveNoFileComp
	}
}
