package workspace

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/kilnbuild/kiln/formula/warpforge"
	"github.com/kilnbuild/kiln/internal/newfile"
	"github.com/kilnbuild/kiln/warehouse"
	"golang.org/x/sys/unix"
)

// ErrExists says that a catalog has something else under a name already.
var ErrExists = errors.New("there already")

// A Change is what Write adds to a module of a catalog.
type Change struct {
	Ref     Ref // Item is not used
	Items   []NamedWare
	Replay  *warpforge.Plot               // what makes the items; nil: nothing is said
	ByWare  map[warehouse.WareID][]string // where wares can be fetched
	ByType  map[string][]string           // where wares of a packtype can be, by module
	Replace bool                          // items that are there with other ids are replaced; else that is ErrExists
	Only    bool                          // the release shall have no items but these
}

// Write adds to a catalog, or does nothing at all. What is there already stays as it is.
// Readers see the old or the new, whenever the writer dies; two writers wait for one
// another.
func (c Catalog) Write(change Change) error {
	unlock, err := c.lock()
	if err != nil {
		return fmt.Errorf("write catalog %s: %w", c.Dir, err)
	}
	defer unlock()
	m, err := c.Module(change.Ref.Module)
	if errors.Is(err, ErrUnknown) {
		m, err = &Module{Name: change.Ref.Module, Dir: filepath.Join(c.Dir, filepath.FromSlash(change.Ref.Module))}, nil
		m.file.Name.Value = m.Name
	}
	if err != nil {
		return err
	}
	if err := c.clear(m); err != nil {
		return err
	}
	for _, dir := range []string{releasesDir, replaysDir} {
		if dir == replaysDir && change.Replay == nil {
			continue
		}
		if err := os.MkdirAll(filepath.Join(m.Dir, dir), 0o755); err != nil {
			return fmt.Errorf("write catalog: %w", err)
		}
	}
	if err := m.writeMirrors(change); err != nil {
		return err
	}
	if change.Ref.Release == "" {
		return nil
	}
	return m.writeRelease(change)
}

// clear refuses a module inside of another: who looks for modules does not look below
// one.
func (c Catalog) clear(m *Module) error {
	for dir := filepath.Dir(m.Dir); len(dir) > len(c.Dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, moduleFile)); err == nil {
			return fmt.Errorf("write catalog %s: %s is below another module, %s", c.Dir, m.Name, filepath.Base(dir))
		}
	}
	return nil
}

func (m *Module) writeMirrors(change Change) error {
	next := warpforge.CatalogMirrors{ByWare: map[string][]string{}, ByModule: map[string]map[string][]string{}}
	changed := false
	add := func(list []string, more []string) []string {
		list = slices.Clone(list)
		for _, addr := range more {
			if !slices.Contains(list, addr) {
				list, changed = append(list, addr), true
			}
		}
		return list
	}
	for id, addrs := range m.Mirrors.ByWare {
		next.ByWare[id] = addrs
	}
	for module, addrs := range m.Mirrors.ByModule {
		next.ByModule[module] = addrs
	}
	for id, addrs := range change.ByWare {
		next.ByWare[id.String()] = add(next.ByWare[id.String()], addrs)
	}
	for packtype, addrs := range change.ByType {
		own := map[string][]string{}
		for t, old := range next.ByModule[m.Name] {
			own[t] = old
		}
		own[packtype] = add(own[packtype], addrs)
		next.ByModule[m.Name] = own
	}
	if !changed {
		return nil
	}
	return writeCatalogFile(filepath.Join(m.Dir, mirrorsFile), warpforge.PrintCatalogMirrors(next))
}

// writeRelease writes the release aside, then the module that names it, and then puts
// the release in its place: its id tells readers which of the two counts.
func (m *Module) writeRelease(change Change) error {
	var file warpforge.CatalogRelease
	if old := m.Release(change.Ref.Release); old != nil {
		file = old.file
	}
	file.Name.Value = change.Ref.Release
	items, err := change.items(m, file.Items)
	if err != nil {
		return err
	}
	file.Items = items
	if change.Replay != nil {
		id := warpforge.ReplayID(change.Replay)
		plot := warpforge.Print(&warpforge.Document{Kind: warpforge.KindPlot, Plot: change.Replay})
		if err := writeCatalogFile(filepath.Join(m.Dir, replaysDir, id+".json"), plot); err != nil {
			return err
		}
		file.Metadata = set(file.Metadata, warpforge.ReplayKey, id)
	}
	text := warpforge.PrintCatalogRelease(&file)
	if old := m.Release(change.Ref.Release); old != nil && old.ID == file.ID {
		return nil
	}
	next := m.nextPath(change.Ref.Release)
	if err := writeCatalogFile(next, text); err != nil {
		return err
	}
	module := m.file
	module.Releases = set(module.Releases, change.Ref.Release, file.ID)
	if err := writeCatalogFile(filepath.Join(m.Dir, moduleFile), warpforge.PrintCatalogModule(module)); err != nil {
		return err
	}
	if err := os.Rename(next, m.releasePath(change.Ref.Release)); err != nil {
		return fmt.Errorf("write catalog: %w", err)
	}
	return nil
}

// items returns the items of the release as they shall be.
func (change *Change) items(m *Module, old []warpforge.CatalogEntry) ([]warpforge.CatalogEntry, error) {
	items := slices.Clone(old)
	if change.Only {
		items = nil
	}
	for _, item := range change.Items {
		if now, there := find(old, item.Name); there && now != item.ID.String() && !change.Replace {
			return nil, fmt.Errorf("%s:%s:%s is %w, and is %s", m.Name, change.Ref.Release, item.Name, ErrExists, now)
		}
		items = set(items, item.Name, item.ID.String())
	}
	if change.Only && !change.Replace {
		for _, item := range old {
			if _, there := find(items, item.Name.Value); !there {
				return nil, fmt.Errorf("%s:%s is %w, with an item %s", m.Name, change.Ref.Release, ErrExists, item.Name.Value)
			}
		}
	}
	return items, nil
}

// set returns entries with name standing for value.
func set(entries []warpforge.CatalogEntry, name, value string) []warpforge.CatalogEntry {
	entries = slices.Clone(entries)
	entry := warpforge.CatalogEntry{Name: warpforge.Text{Value: name}, Value: warpforge.Text{Value: value}}
	i := slices.IndexFunc(entries, func(e warpforge.CatalogEntry) bool { return e.Name.Value == name })
	if i < 0 {
		return append(entries, entry)
	}
	entries[i] = entry
	return entries
}

func writeCatalogFile(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write catalog: %w", err)
	}
	err := newfile.Write(path, true, func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	})
	if err != nil {
		return fmt.Errorf("write catalog: %w", err)
	}
	return nil
}

// lock keeps other writers away until unlock is called.
func (c Catalog) lock() (unlock func(), err error) {
	d, err := os.Open(c.Dir)
	if err != nil {
		return nil, err
	}
	for {
		if err = unix.Flock(int(d.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			return func() { d.Close() }, nil // a file system without locks is no reason to stop
		}
	}
}

// Copy adds a release of another catalog's module, its mirrors and its replay. Of a
// release that c has otherwise the error matches ErrExists.
func (c Catalog) Copy(m *Module, r *Release) error {
	change := Change{Ref: Ref{Module: m.Name, Release: r.Name}, Items: r.Items, Only: true, ByWare: map[warehouse.WareID][]string{}, ByType: m.Mirrors.ByModule[m.Name]}
	for _, item := range r.Items {
		if addrs := m.Mirrors.ByWare[item.ID.String()]; addrs != nil {
			change.ByWare[item.ID] = addrs
		}
	}
	if r.Replay != "" {
		path, err := m.ReplayPath(r)
		if err != nil {
			return err
		}
		src, err := warpforge.ReadFile(path)
		if err != nil {
			return fmt.Errorf("copy %s:%s: %w", m.Name, r.Name, err)
		}
		d, diags := warpforge.Parse(src, path)
		if err := problem(diags); err != nil {
			return err
		}
		change.Replay = d.Plot
	}
	if there, err := c.Module(m.Name); err == nil {
		if old := there.Release(r.Name); old != nil && old.ID != r.ID {
			return fmt.Errorf("%s:%s is %w, in %s, with other items", m.Name, r.Name, ErrExists, c.Dir)
		}
	} else if !errors.Is(err, ErrUnknown) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return c.Write(change)
}
