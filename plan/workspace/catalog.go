package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/formula/warpforge"
	"github.com/kilnbuild/kiln/internal/lazyregexp"
	"github.com/kilnbuild/kiln/warehouse"
)

// A Catalog is a directory of modules: names for wares, each MODULE:RELEASE:ITEM. The
// files in it are warpforge's; docs/warpforge.md tells how they are laid out.
type Catalog struct{ Dir string } // absolute

// The files of a module.
const (
	moduleFile  = "_module.json"
	mirrorsFile = "_mirrors.json"
	releasesDir = "_releases"
	replaysDir  = "_replays"
)

// A Ref names something in a catalog. Item, and with it Release, may be "" to name more.
type Ref struct{ Module, Release, Item string }

// ParseRef reads MODULE, MODULE:RELEASE or MODULE:RELEASE:ITEM.
func ParseRef(text string) (r Ref, err error) {
	parts := strings.Split(text, ":")
	if len(parts) > 3 {
		return r, fmt.Errorf("catalog reference %q: want MODULE:RELEASE:ITEM", text)
	}
	parts = append(parts, "", "")
	r = Ref{parts[0], parts[1], parts[2]}
	if why := warpforge.CheckModuleName(r.Module); why != "" {
		return r, fmt.Errorf("catalog reference %q: no module can be called %q: %s", text, r.Module, why)
	}
	for i, name := range strings.Split(text, ":")[1:] {
		if why := warpforge.CheckLabel(name); why != "" {
			return r, fmt.Errorf("catalog reference %q: no %s can be called %q: %s", text, []string{"release", "item"}[i], name, why)
		}
	}
	return r, nil
}

// String returns what ParseRef reads.
func (r Ref) String() string {
	return strings.TrimRight(r.Module+":"+r.Release+":"+r.Item, ":")
}

// catalogName is warpforge's rule.
var catalogName = lazyregexp.New(`^[A-Za-z0-9][-A-Za-z0-9_.]{0,62}$`)

// Init makes a catalog of a name in the workspace of dir, and the workspace if there is
// none yet. The name "" is for the workspace's unnamed one.
func Init(dir, name string) (Catalog, error) {
	at := filepath.Join(dir, dirName, "catalog")
	if name != "" {
		if !catalogName.MatchString(name) {
			return Catalog{}, fmt.Errorf("catalog %q: a name has letters, digits, '-', '_' and '.', at most 63, and begins with a letter or a digit", name)
		}
		at = filepath.Join(dir, dirName, "catalogs", name)
	}
	if isDir(at) {
		return Catalog{}, fmt.Errorf("make catalog: %w", &fs.PathError{Op: "mkdir", Path: at, Err: fs.ErrExist})
	}
	if err := os.MkdirAll(at, 0o755); err != nil {
		return Catalog{}, fmt.Errorf("make catalog: %w", err)
	}
	return Catalog{at}, nil
}

// Catalogs returns all catalogs, in the order they are looked into.
func (s Set) Catalogs() (all []Catalog) {
	for _, dir := range s.catalogs() {
		all = append(all, Catalog{dir})
	}
	return all
}

// Name is the last part of the catalog's directory: what it is called in its workspace.
func (c Catalog) Name() string { return filepath.Base(c.Dir) }

// Modules returns the names of all modules, sorted.
func (c Catalog) Modules() ([]string, error) {
	var names []string
	err := filepath.WalkDir(c.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != c.Dir && strings.HasPrefix(d.Name(), ".") {
			return fs.SkipDir // of the version control that catalogs are shared by
		}
		if d.Name() == moduleFile && !d.IsDir() {
			rel, err := filepath.Rel(c.Dir, filepath.Dir(path))
			names = append(names, filepath.ToSlash(rel))
			return err
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read catalog %s: %w", c.Dir, err)
	}
	slices.Sort(names)
	return names, nil
}

// A Module is what a catalog has of one.
type Module struct {
	Name     string
	Dir      string
	Releases []Release // in the order of _module.json
	Mirrors  warpforge.CatalogMirrors

	file warpforge.CatalogModule
}

// A Release is one of a module.
type Release struct {
	Name   string
	ID     string
	Items  []NamedWare // in the order written
	Replay string      // the id of the plot that makes its items, or ""

	file warpforge.CatalogRelease
}

// A NamedWare is an item of a release.
type NamedWare struct {
	Name string
	ID   warehouse.WareID
}

// Module reads a module and all of its releases, and checks that they belong together.
// The error matches ErrUnknown when the catalog does not have it.
func (c Catalog) Module(name string) (*Module, error) {
	m, err := c.moduleOnly(name)
	if err != nil {
		return nil, err
	}
	for _, entry := range m.file.Releases {
		r, err := m.release(entry.Name.Value, entry.Value.Value)
		if err != nil {
			return nil, err
		}
		m.Releases = append(m.Releases, r)
	}
	return m, nil
}

// moduleOnly reads a module without its releases.
func (c Catalog) moduleOnly(name string) (*Module, error) {
	if !filepath.IsLocal(name) {
		return nil, fmt.Errorf("catalog reference %s: not a name in a catalog", name)
	}
	m := &Module{Name: name, Dir: filepath.Join(c.Dir, filepath.FromSlash(name))}
	file := filepath.Join(m.Dir, moduleFile)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) || isNotDir(err) {
		return nil, fmt.Errorf("module %s is %w: looked in %s", name, ErrUnknown, c.Dir)
	}
	found, diags := warpforge.ReadCatalogModule(file)
	if err := problem(diags); err != nil {
		return nil, err
	}
	m.file = found
	m.Mirrors, diags = warpforge.ReadCatalogMirrors(filepath.Join(m.Dir, mirrorsFile))
	return m, problem(diags)
}

// release reads a release, which has to have the id that its module gives it.
func (m *Module) release(name, id string) (Release, error) {
	if !filepath.IsLocal(name) {
		return Release{}, fmt.Errorf("catalog reference %s:%s: not a name in a catalog", m.Name, name)
	}
	file, diags := warpforge.ReadCatalogRelease(m.releasePath(name))
	if file.ID != id {
		// Who writes a release lets the module name it first.
		if next, nextDiags := warpforge.ReadCatalogRelease(m.nextPath(name)); problem(nextDiags) == nil && next.ID == id {
			file, diags = next, nil
		}
	}
	if err := problem(diags); err != nil {
		return Release{}, err
	}
	if file.ID != id {
		return Release{}, fmt.Errorf("catalog %s: release %s has the id %s, and %s names %s: one of the two was changed", m.Dir, name, file.ID, moduleFile, id)
	}
	r := Release{Name: name, ID: id, file: file}
	for _, item := range file.Items {
		ware, err := warehouse.ParseWareID(item.Value.Value)
		if err != nil {
			return Release{}, err
		}
		r.Items = append(r.Items, NamedWare{item.Name.Value, ware})
	}
	r.Replay, _ = find(file.Metadata, warpforge.ReplayKey)
	return r, nil
}

func (m *Module) releasePath(name string) string {
	return filepath.Join(m.Dir, releasesDir, name+".json")
}

// nextPath is where a release is written before the module names it.
func (m *Module) nextPath(name string) string {
	return filepath.Join(m.Dir, releasesDir, "."+name+".json.next")
}

// Release returns the release of a name, or nil.
func (m *Module) Release(name string) *Release {
	for i := range m.Releases {
		if m.Releases[i].Name == name {
			return &m.Releases[i]
		}
	}
	return nil
}

// Addresses returns where the module's mirrors have a ware.
func (m *Module) Addresses(id warehouse.WareID) []string {
	return append(slices.Clone(m.Mirrors.ByWare[id.String()]), m.Mirrors.ByModule[m.Name][id.Packtype]...)
}

// ReplayPath returns the file of the plot that makes the items of r, having checked
// that it is that plot.
func (m *Module) ReplayPath(r *Release) (string, error) {
	if !filepath.IsLocal(r.Replay) || strings.ContainsRune(r.Replay, filepath.Separator) {
		return "", fmt.Errorf("catalog %s: release %s names its replay %q, which is no id", m.Dir, r.Name, r.Replay)
	}
	path := filepath.Join(m.Dir, replaysDir, r.Replay+".json")
	src, err := warpforge.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("catalog: replay of %s:%s: %w", m.Name, r.Name, err)
	}
	d, diags := warpforge.Parse(src, path)
	if err := problem(diags); err != nil {
		return "", err
	}
	if d.Kind != warpforge.KindPlot || !warpforge.IsReplay(r.Replay, d.Plot) {
		return "", fmt.Errorf("catalog %s: the replay of release %s is another one than %s: it was changed", m.Dir, r.Name, r.Replay)
	}
	return path, nil
}
