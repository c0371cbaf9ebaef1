package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/plan/workspace"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/remote"
	"github.com/spf13/cobra"
)

func newCatalogBundleCmd(a *app) *cobra.Command {
	var f formulaFlags
	cmd := &cobra.Command{
		Use:   "bundle [FILE|DIR]",
		Short: "Copy what a formula names of catalogs beside it",
		Long: `Copy the releases that a formula names of catalogs, and what their replays name, into
.warpforge/catalog beside the formula, so that it can be built without the catalogs
around it.`,
		RunE: func(_ *cobra.Command, args []string) error {
			f.parse(args)
			return a.catalogBundle(&f)
		},
	}
	f.add(cmd)
	return cmd
}

func (a *app) catalogBundle(f *formulaFlags) error {
	loaded, err := f.load(a, nil)
	if err != nil {
		return err
	}
	to := workspace.Catalog{Dir: filepath.Join(loaded.Dir, ".warpforge", "catalog")}
	seen := map[string]bool{}
	for todo := catalogRefs(loaded); len(todo) > 0; todo = todo[1:] {
		if seen[todo[0]] {
			continue
		}
		seen[todo[0]] = true
		more, err := a.bundle(to, workspace.Find(loaded.Dir), todo[0])
		if err != nil {
			return err
		}
		todo = append(todo, more...)
	}
	return nil
}

// bundle copies the release of a reference, and returns what its replay refers to.
func (a *app) bundle(to workspace.Catalog, set workspace.Set, text string) ([]string, error) {
	item, err := set.Lookup(text)
	if err != nil {
		return nil, err
	}
	if item.Catalog != to {
		m, err := item.Catalog.Module(item.Ref.Module)
		if err != nil {
			return nil, err
		}
		if err := os.MkdirAll(to.Dir, 0o755); err != nil {
			return nil, fmt.Errorf("make catalog: %w", err)
		}
		if err := to.Copy(m, m.Release(item.Ref.Release)); err != nil {
			return nil, err
		}
		fmt.Fprintf(a.stdout, "%s:%s\n", item.Ref.Module, item.Ref.Release)
	}
	if item.Replay == "" {
		return nil, item.ReplayError()
	}
	replay := formulaFlags{path: item.Replay}
	loaded, err := replay.load(a, nil)
	if err != nil {
		return nil, err
	}
	return catalogRefs(loaded), nil
}

func catalogRefs(f *formula.Formula) (refs []string) {
	for _, w := range f.Wares {
		if w.Source.Kind == formula.SourceCatalog {
			refs = append(refs, w.Source.Catalog)
		}
	}
	return refs
}

func newCatalogMirrorCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "mirror WAREHOUSE [MODULE[:RELEASE]...]",
		Short: "Put the wares of a catalog into a warehouse",
		Long: `Put the wares of modules, or of all, into a warehouse, and write into the catalog that
they are there: kept in version control, the catalog then tells everybody. A warehouse
is a name of config.hcl or a URL; other people must be able to read it at that URL.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.catalogMirror(cmd.Context(), args[0], args[1:])
		},
	}
}

func (a *app) catalogMirror(ctx context.Context, name string, refs []string) error {
	if err := noPassword(name); err != nil {
		return err
	}
	if len(refs) == 0 {
		refs = []string{""}
	}
	var failures []error
	for _, ref := range refs {
		found, err := lookAround(ref)
		if err != nil {
			return err
		}
		for _, m := range found.modules {
			for _, r := range m.Releases {
				if err := a.mirrorRelease(ctx, name, m, &r); err != nil {
					failures = append(failures, err)
				}
				if ctx.Err() != nil {
					return ctx.Err()
				}
			}
		}
	}
	return errors.Join(failures...)
}

// mirrorRelease brings a release's wares here and puts them into a warehouse.
func (a *app) mirrorRelease(ctx context.Context, name string, m *workspace.Module, r *workspace.Release) error {
	return withWares(func(l *warehouse.Local) error {
		return a.withPlaces(l, []string{name}, func(set *remote.Set, places []remote.Warehouse) error {
			change := workspace.Change{Ref: workspace.Ref{Module: m.Name}, ByWare: map[warehouse.WareID][]string{}}
			for _, item := range r.Items {
				ref := workspace.Ref{Module: m.Name, Release: r.Name, Item: item.Name}
				if err := a.fetchItem(ctx, l, ref); err != nil {
					return err
				}
				if err := set.Put(ctx, places[0].Name, item.ID, nil); err != nil {
					return err
				}
				change.ByWare[item.ID] = []string{places[0].URL}
				fmt.Fprintf(a.stdout, "%s = %s\n", ref, item.ID)
			}
			c := workspace.Catalog{Dir: strings.TrimSuffix(m.Dir, string(filepath.Separator)+filepath.FromSlash(m.Name))}
			return c.Write(change)
		})
	})
}

// fetchItem brings a ware by its name in a catalog here.
func (a *app) fetchItem(ctx context.Context, l *warehouse.Local, ref workspace.Ref) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	cache, err := cacheDir("plan")
	if err != nil {
		return err
	}
	w := &formula.Ware{Addr: "ware.item", Dir: dir, Source: formula.Source{Kind: formula.SourceCatalog, Catalog: ref.String(), Unlocked: true}}
	p, diags := plan.Resolve(ctx, &formula.Formula{Dir: dir, Wares: []*formula.Ware{w}}, plan.ResolveOptions{
		Warehouse: l, CacheDir: cache, LockPath: filepath.Join(cache, "none.lock.hcl"), Progress: a.tellProgress,
	})
	if !diags.HasErrors() {
		diags = p.Fetch(ctx, []string{w.Addr})
	}
	return a.diagnosePlan(diags, nil)
}
