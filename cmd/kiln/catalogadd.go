package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/kilnbuild/kiln/formula/warpforge"
	"github.com/kilnbuild/kiln/pack/git"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/plan/workspace"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/spf13/cobra"
)

const catalogAddHelp = `Give a ware a name in a catalog. The ware is one of:

  a ware id            such as tar:4z9DCT…; --at says where it can be fetched
  a URL or a file      an archive, whose id is found out; a URL becomes its address
  a git repository     with --packtype git: the commit that --ref names

An archive is a tar ware with the id that rio gives it, unless --packtype says otherwise.`

// catalogAddFlags are the flags of kiln catalog add.
type catalogAddFlags struct {
	catalog, packtype, ref string
	at                     []string
	replace                bool
}

func newCatalogAddCmd(a *app) *cobra.Command {
	var f catalogAddFlags
	cmd := &cobra.Command{
		Use:   "add MODULE:RELEASE:ITEM WARE",
		Short: "Give a ware a name",
		Long:  catalogAddHelp,
		Args:  cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.catalogAdd(cmd.Context(), &f, args[0], args[1])
		},
	}
	catalogFlag(cmd, &f.catalog)
	cmd.Flags().StringVar(&f.packtype, "packtype", "tar", "how the ware is hashed: tar, zip, tree or git")
	cmd.Flags().StringVar(&f.ref, "ref", "", "with --packtype git: a branch, tag or commit; HEAD unless set")
	cmd.Flags().StringArrayVar(&f.at, "at", nil, "where the ware can be fetched, a warehouse `ADDRESS` (repeatable)")
	cmd.Flags().BoolVar(&f.replace, "replace", false, "let the name stand for another ware than before")
	return cmd
}

func (a *app) catalogAdd(ctx context.Context, f *catalogAddFlags, name, what string) error {
	ref, err := workspace.ParseRef(name)
	if err == nil && ref.Item == "" {
		err = fmt.Errorf("catalog reference %q: want MODULE:RELEASE:ITEM", name)
	}
	if err != nil {
		return err
	}
	if err := noPassword(append([]string{what}, f.at...)...); err != nil {
		return err
	}
	c, err := catalogFor(f.catalog, ref.Module)
	if err != nil {
		return err
	}
	id, at, err := a.identify(ctx, f, what)
	if err != nil {
		return err
	}
	for _, addr := range f.at {
		if id.Packtype != git.Packtype && !strings.Contains(addr, "://") {
			return fmt.Errorf("--at %s: it is no warehouse address, which is a URL", addr)
		}
	}
	change := workspace.Change{Ref: ref, Items: []workspace.NamedWare{{Name: ref.Item, ID: id}}, Replace: f.replace}
	switch {
	case len(at) == 0:
	case id.Packtype == git.Packtype: // a repository has all of a module's commits
		change.ByType = map[string][]string{git.Packtype: at}
	default:
		change.ByWare = map[warehouse.WareID][]string{id: at}
	}
	if err := c.Write(change); err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%s = %s\n", ref, id)
	return nil
}

// noPassword refuses addresses that everybody who reads the catalog would learn a
// password from.
func noPassword(addresses ...string) error {
	for _, addr := range addresses {
		if strings.Contains(addr, "://") && warehouse.RedactURL(addr) != addr {
			return withHint(fmt.Errorf("%s holds a password, and catalogs are for everybody", warehouse.RedactURL(addr)),
				"Give the address without it; of a warehouse, config.hcl can name where the password is (password_env).")
		}
	}
	return nil
}

// identify finds the id of what a person has named, and where it can be fetched.
func (a *app) identify(ctx context.Context, f *catalogAddFlags, what string) (id warehouse.WareID, at []string, err error) {
	if id, err := warehouse.ParseWareID(what); err == nil && id.Packtype != "file" {
		if _, statErr := os.Stat(what); statErr != nil {
			return id, f.at, nil
		}
	}
	cache, err := cacheDir("plan")
	if err != nil {
		return id, nil, err
	}
	remote := strings.Contains(what, "://")
	if remote {
		at = append(at, what)
	}
	err = withWares(func(l *warehouse.Local) error {
		if f.packtype == git.Packtype {
			rec, err := plan.GitWare(ctx, what, f.ref, plan.ResolveOptions{Warehouse: l, CacheDir: cache})
			id = rec.ID
			return sourceError(err, err)
		}
		o := plan.ScanOptions{CacheDir: cache}
		o.Packtype, o.Warehouse = f.packtype, l
		if o.Filters, err = scanFilters("", f.packtype); err != nil {
			return err
		}
		scan := plan.ScanFile
		if remote {
			scan = plan.ScanURL
		}
		s, err := scan(ctx, what, o)
		id = s.ID
		return sourceError(err, err)
	})
	return id, append(at, f.at...), err
}

func newCatalogTagsCmd(a *app) *cobra.Command {
	var catalog string
	cmd := &cobra.Command{
		Use:   "ingest-git-tags MODULE URL ITEM",
		Short: "Make a release of each tag of a git repository",
		Long: `Add a release to MODULE for each tag of the git repository at URL, with one ITEM: the
commit that the tag stands for. Releases that are there already stay as they are; one
that is another commit by now is an error, since releases do not change.`,
		Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.catalogTags(cmd.Context(), catalog, args[0], args[1], args[2])
		},
	}
	catalogFlag(cmd, &catalog)
	return cmd
}

func (a *app) catalogTags(ctx context.Context, catalog, module, url, item string) error {
	c, err := catalogFor(catalog, module)
	if err != nil {
		return err
	}
	cache, err := cacheDir("plan")
	if err != nil {
		return err
	}
	tags, err := plan.GitTags(ctx, url, plan.ResolveOptions{CacheDir: cache})
	if err != nil {
		return withCode(codeMissing, err)
	}
	added := 0
	for _, tag := range tags {
		ref, err := workspace.ParseRef(module + ":" + tag.Name + ":" + item)
		if err != nil { // tags may have slashes, releases not
			fmt.Fprintf(a.stderr, "left out: %v\n", err)
			continue
		}
		err = c.Write(workspace.Change{
			Ref: ref, Items: []workspace.NamedWare{{Name: item, ID: warehouse.WareID{Packtype: git.Packtype, Hash: tag.ID.String()}}},
			ByType: map[string][]string{git.Packtype: {url}},
		})
		if err != nil {
			return err
		}
		added++
	}
	fmt.Fprintf(a.stderr, "%s of %s in %s\n", count(added, "tag"), warehouse.RedactURL(url), c.Dir)
	return nil
}

const catalogReleaseHelp = `Run a formula and make a release of its outputs: each becomes an item. The release
remembers how they were made, by a replay: the formula as a plot of warpforge's, which
kiln run --recursive runs again. What such a plot cannot say needs --no-replay.

The formula's wares have to be pinned: a plot that reads git when it runs is no replay.`

func newCatalogReleaseCmd(a *app) *cobra.Command {
	var f runFlags
	var catalog string
	var replace, noReplay bool
	cmd := &cobra.Command{
		Use:   "release MODULE:RELEASE [FILE|DIR]",
		Short: "Make a release of a formula's outputs",
		Long:  catalogReleaseHelp,
		Args:  cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.parse(args[1:])
			return a.catalogRelease(cmd.Context(), &f, catalog, args[0], replace, noReplay)
		},
	}
	f.add(cmd)
	f.allow.add(cmd)
	catalogFlag(cmd, &catalog)
	cmd.Flags().BoolVar(&replace, "replace", false, "let the release become another one than before")
	cmd.Flags().BoolVar(&noReplay, "no-replay", false, "do not remember how the items were made")
	return cmd
}

func (a *app) catalogRelease(ctx context.Context, f *runFlags, catalog, name string, replace, noReplay bool) error {
	ref, err := workspace.ParseRef(name)
	if err == nil && (ref.Release == "" || ref.Item != "") {
		err = fmt.Errorf("catalog reference %q: want MODULE:RELEASE", name)
	}
	if err != nil {
		return err
	}
	c, err := catalogFor(catalog, ref.Module)
	if err != nil {
		return err
	}
	change := workspace.Change{Ref: ref, Only: true, Replace: replace}
	if !noReplay {
		if change.Replay, err = a.replayOf(f); err != nil {
			return withHint(err, "With --no-replay the release says what it holds, and not how that was made.")
		}
	}
	tale := a.newStory(f.quiet)
	defer tale.close()
	defer context.AfterFunc(ctx, tale.calm)()
	defer a.tellThrough(tale)()
	result, order, err := a.runInside(ctx, f, tale)
	if err != nil {
		return err
	}
	for _, output := range order {
		change.Items = append(change.Items, workspace.NamedWare{Name: output, ID: result[output]})
	}
	if len(change.Items) == 0 {
		return fmt.Errorf("release %s: the formula has no outputs", ref)
	}
	if err := c.Write(change); err != nil {
		return err
	}
	for _, item := range change.Items {
		fmt.Fprintf(a.stdout, "%s:%s = %s\n", ref, item.Name, item.ID)
	}
	return nil
}

// replayOf returns the formula as a plot that makes the same anywhere.
func (a *app) replayOf(f *runFlags) (*warpforge.Plot, error) {
	loaded, err := f.load(a, nil)
	if err != nil {
		return nil, err
	}
	d := (*warpforge.Document)(nil)
	if f.warpforge != nil {
		d = f.warpforge.Document
	} else {
		plot, diags := warpforge.FromFormula(loaded)
		if err := a.diagnose(diags, loaded.Sources); err != nil {
			return nil, err
		}
		d = plot
	}
	if d.Kind != warpforge.KindPlot {
		return nil, fmt.Errorf("a %s is no replay, which is a plot", d.Kind)
	}
	if name := unpinned(d.Plot); name != "" {
		return nil, fmt.Errorf("the plot reads its input %s from git or from this machine when it runs, and would make something else another time", name)
	}
	return d.Plot, nil
}

// unpinned returns an input of a plot that is not the same everywhere, or "".
func unpinned(p *warpforge.Plot) string {
	inputs := p.Inputs
	for _, s := range p.Steps {
		if s.Formula != nil {
			inputs = append(inputs, s.Formula.Inputs...)
		} else if name := unpinned(s.Plot); name != "" {
			return name
		}
	}
	for _, in := range inputs {
		if in.Kind == warpforge.InputIngest || in.Kind == warpforge.InputMount {
			return in.Name.Value
		}
	}
	return ""
}

// runInside runs a formula as a part of a tale, and returns its outputs and their names
// in the order written.
func (a *app) runInside(ctx context.Context, f *runFlags, tale *story) (map[string]warehouse.WareID, []string, error) {
	s, err := a.openSession(ctx, &f.planFlags)
	if err != nil {
		return nil, nil, err
	}
	defer s.close()
	if err := a.replay(ctx, s, f, tale); err != nil {
		return nil, nil, err
	}
	result, err := a.runRounds(ctx, s, f, nil, tale)
	if len(result.Failed) > 0 {
		tale.failures(a, result.Failed)
	}
	if err != nil {
		return nil, nil, runError(result, err)
	}
	if err := s.remember(a, result); err != nil {
		return nil, nil, err
	}
	var order []string
	for _, o := range s.plan.Formula.Outputs {
		order = append(order, o.Name)
	}
	return result.Outputs, order, nil
}
