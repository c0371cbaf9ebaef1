package main

import (
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/plan/workspace"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/spf13/cobra"
)

const catalogHelp = `Catalogs give names to wares: MODULE:RELEASE:ITEM, which a formula uses as
ware "x" { catalog = "MODULE:RELEASE:ITEM" }. They are directories of small files in
warpforge's form, to be kept in version control: .warpforge/catalogs/NAME beside or
above the formulas that use them, nearest first.

A release may have a replay, the plot that makes its items; kiln run --recursive runs
it rather than fetching them.`

func newCatalogCmd(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "catalog",
		Short: "Give names to wares, and look them up",
		Long:  catalogHelp,
		Args:  cobra.ArbitraryArgs,
		RunE:  runGroup,
	}
	cmd.AddCommand(newCatalogInitCmd(a), newCatalogAddCmd(a), newCatalogReleaseCmd(a), newCatalogLsCmd(a), newCatalogShowCmd(a),
		newCatalogBundleCmd(a), newCatalogUpdateCmd(a), newCatalogTagsCmd(a), newCatalogHTMLCmd(a), newCatalogMirrorCmd(a))
	return cmd
}

func newCatalogInitCmd(a *app) *cobra.Command {
	var from string
	cmd := &cobra.Command{
		Use:   "init [NAME]",
		Short: "Make a catalog in this directory's workspace",
		Long: `Make an empty catalog NAME in .warpforge/catalogs of this directory, or without a NAME
the catalog .warpforge/catalog. With --from it is a clone of a git repository, which
kiln catalog update brings up to date.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := os.Getwd()
			if err != nil {
				return err
			}
			c, err := workspace.Init(dir, strings.Join(args, ""))
			if err != nil {
				return err
			}
			if from != "" {
				if err := a.git("clone", "--quiet", "--", from, c.Dir); err != nil {
					return errors.Join(err, os.Remove(c.Dir))
				}
			}
			fmt.Fprintln(a.stdout, c.Dir)
			return nil
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "clone this git repository, a `URL`")
	return cmd
}

// git runs git, which asks the person what it has to.
func (a *app) git(args ...string) error {
	cmd := osexec.Command("git", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, a.stderr, a.stderr
	if err := cmd.Run(); err != nil {
		for i, arg := range args {
			args[i] = warehouse.RedactURL(arg)
		}
		return fmt.Errorf("git %s: %w", strings.Join(args, " "), err)
	}
	return nil
}

// catalogSet returns the workspaces around the current directory.
func catalogSet() (workspace.Set, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	return workspace.Find(dir), nil
}

// catalogFor returns the catalog to write to: the one of a name, or else the only one,
// or the one that has the module already.
func catalogFor(name, module string) (workspace.Catalog, error) {
	set, err := catalogSet()
	if err != nil {
		return workspace.Catalog{}, err
	}
	all := set.Catalogs()
	var names []string
	for _, c := range all {
		if c.Name() == name {
			return c, nil
		}
		names = append(names, c.Name())
	}
	switch {
	case name != "":
		return workspace.Catalog{}, withHint(fmt.Errorf("there is no catalog %q", name), "There is: "+strings.Join(names, ", ")+". kiln catalog init makes one.")
	case len(all) == 0:
		return workspace.Catalog{}, withHint(errors.New("there is no catalog: no directory from this one upwards has a .warpforge/catalog or .warpforge/catalogs"),
			"kiln catalog init NAME makes one.")
	case len(all) == 1:
		return all[0], nil
	}
	for _, c := range all {
		if _, err := c.Module(module); !errors.Is(err, workspace.ErrUnknown) {
			return c, err
		}
	}
	return workspace.Catalog{}, withHint(fmt.Errorf("several catalogs could have %s", module), "Say which with --catalog: "+strings.Join(names, ", "))
}

func catalogFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "catalog", "", "the catalog to write to, by `NAME`; needed if there are several")
}

func newCatalogLsCmd(a *app) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "ls [MODULE[:RELEASE]]",
		Short: "List modules, releases or items",
		Long: `List the modules of all catalogs, the releases of a module, or the items of a release
with their ware ids.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			found, err := lookAround(strings.Join(args, ""))
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(found.docs())
			}
			names := found.names()
			for _, line := range names {
				fmt.Fprintln(a.stdout, line)
			}
			if names == nil && len(args) == 0 {
				fmt.Fprintln(a.stderr, "nothing has a name here: kiln catalog init makes a catalog, kiln catalog add gives names")
			}
			return nil
		},
	}
	jsonFlag(cmd, &asJSON)
	return cmd
}

func newCatalogShowCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show MODULE[:RELEASE[:ITEM]]",
		Short: "Show what a catalog says of something",
		Long: `Show the items of a module's releases with their ware ids, where they can be fetched,
and whether a release has a replay. With an ITEM only its ware id is printed.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			found, err := lookAround(args[0])
			if err != nil {
				return err
			}
			found.show(a)
			return nil
		},
	}
}

// catalogued is what the catalogs have of a reference: each module from the first
// catalog that has it.
type catalogued struct {
	ref     workspace.Ref
	modules []*workspace.Module
}

// lookAround looks a reference up; "" stands for everything.
func lookAround(text string) (*catalogued, error) {
	set, err := catalogSet()
	if err != nil {
		return nil, err
	}
	f := &catalogued{}
	if text != "" {
		if f.ref, err = workspace.ParseRef(text); err != nil {
			return nil, err
		}
	}
	seen := map[string]bool{}
	for _, c := range set.Catalogs() {
		names, err := c.Modules()
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if seen[name] || f.ref.Module != "" && f.ref.Module != name {
				continue
			}
			m, err := c.Module(name)
			if err != nil {
				return nil, err
			}
			seen[name] = true
			f.modules = append(f.modules, m)
		}
	}
	slices.SortFunc(f.modules, func(a, b *workspace.Module) int { return strings.Compare(a.Name, b.Name) })
	return f, f.narrow()
}

// narrow leaves of the modules what the reference names.
func (f *catalogued) narrow() error {
	if f.ref.Module == "" {
		return nil
	}
	if len(f.modules) == 0 {
		return withHint(fmt.Errorf("module %s is %w", f.ref.Module, workspace.ErrUnknown), "kiln catalog ls lists what is.")
	}
	m := f.modules[0]
	if f.ref.Release == "" {
		return nil
	}
	r := m.Release(f.ref.Release)
	if r == nil {
		return withHint(fmt.Errorf("module %s has no release %s", m.Name, f.ref.Release), "kiln catalog ls "+m.Name+" lists what it has.")
	}
	if f.ref.Item != "" {
		i := slices.IndexFunc(r.Items, func(item workspace.NamedWare) bool { return item.Name == f.ref.Item })
		if i < 0 {
			return withHint(fmt.Errorf("release %s:%s has no item %s", m.Name, r.Name, f.ref.Item), "kiln catalog ls "+m.Name+":"+r.Name+" lists what it has.")
		}
		r.Items = r.Items[i : i+1]
	}
	m.Releases = []workspace.Release{*r}
	return nil
}

func (f *catalogued) names() (lines []string) {
	for _, m := range f.modules {
		switch {
		case f.ref.Module == "":
			lines = append(lines, m.Name)
		case f.ref.Release == "":
			for _, r := range m.Releases {
				lines = append(lines, m.Name+":"+r.Name)
			}
		default:
			for _, item := range m.Releases[0].Items {
				lines = append(lines, fmt.Sprintf("%s:%s:%s %s", m.Name, m.Releases[0].Name, item.Name, item.ID))
			}
		}
	}
	return lines
}

func (f *catalogued) show(a *app) {
	m := f.modules[0]
	if f.ref.Item != "" {
		fmt.Fprintln(a.stdout, m.Releases[0].Items[0].ID)
		return
	}
	fmt.Fprintf(a.stdout, "module   %s\nin       %s\n", m.Name, m.Dir)
	for _, r := range m.Releases {
		fmt.Fprintf(a.stdout, "\nrelease  %s\n", r.Name)
		for _, item := range r.Items {
			fmt.Fprintf(a.stdout, "  %s  %s\n", item.Name, item.ID)
			for _, addr := range m.Addresses(item.ID) {
				fmt.Fprintf(a.stdout, "    at %s\n", warehouse.RedactURL(addr))
			}
		}
		if r.Replay != "" {
			fmt.Fprintf(a.stdout, "  replay %s\n", r.Replay)
		}
	}
}

// catalogDoc is what kiln catalog ls --json prints of a module.
type catalogDoc struct {
	Module   string       `json:"module"`
	Dir      string       `json:"dir"`
	Releases []releaseDoc `json:"releases"`
}

type releaseDoc struct {
	Release string              `json:"release"`
	ID      string              `json:"id"`
	Items   map[string]string   `json:"items"`
	At      map[string][]string `json:"at,omitempty"` // addresses by item
	Replay  string              `json:"replay,omitempty"`
}

func (f *catalogued) docs() []catalogDoc {
	docs := []catalogDoc{}
	for _, m := range f.modules {
		d := catalogDoc{Module: m.Name, Dir: m.Dir, Releases: []releaseDoc{}}
		for _, r := range m.Releases {
			rd := releaseDoc{Release: r.Name, ID: r.ID, Items: map[string]string{}, At: map[string][]string{}, Replay: r.Replay}
			for _, item := range r.Items {
				rd.Items[item.Name] = item.ID.String()
				for _, addr := range m.Addresses(item.ID) {
					rd.At[item.Name] = append(rd.At[item.Name], warehouse.RedactURL(addr))
				}
			}
			d.Releases = append(d.Releases, rd)
		}
		docs = append(docs, d)
	}
	return docs
}

func newCatalogUpdateCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "update",
		Short: "Bring catalogs that are clones of git repositories up to date",
		Long: `Run git pull --ff-only in each catalog that is a clone of a git repository. A catalog
that was changed here so that it cannot be moved on is left as it is, and told.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			set, err := catalogSet()
			if err != nil {
				return err
			}
			var failures []error
			for _, c := range set.Catalogs() {
				if _, err := os.Stat(filepath.Join(c.Dir, ".git")); err != nil {
					fmt.Fprintf(a.stderr, "%s: not a clone, left as it is\n", c.Dir)
					continue
				}
				if err := a.git("-C", c.Dir, "pull", "--quiet", "--ff-only"); err != nil {
					failures = append(failures, err)
					continue
				}
				fmt.Fprintf(a.stderr, "%s: up to date\n", c.Dir)
			}
			return errors.Join(failures...)
		},
	}
}
