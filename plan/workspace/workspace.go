// Package workspace finds warpforge's workspaces, directories named .warpforge, and
// reads and writes their catalogs. Package plan fetches what they name.
package workspace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/hashicorp/hcl/v2"

	"github.com/kilnbuild/kiln/formula/warpforge"
	"github.com/kilnbuild/kiln/warehouse"
)

// The names of workspaces' directories.
const (
	dirName  = ".warpforge"
	homeName = ".warphome" // in the home directory, the last that is looked into
)

// A Set is the workspaces around a directory, absolute paths: the nearest first, up to
// a root workspace or the one in the home directory.
type Set []string

// Find returns the workspaces around dir, an absolute path.
func Find(dir string) (set Set) {
	for at := dir; ; at = filepath.Dir(at) {
		ws := filepath.Join(at, dirName)
		if isDir(ws) {
			set = append(set, ws)
			if _, err := os.Stat(filepath.Join(ws, "root")); err == nil {
				return set
			}
		}
		if at == filepath.Dir(at) {
			break
		}
	}
	if home, err := os.UserHomeDir(); err == nil && isDir(filepath.Join(home, homeName)) {
		set = append(set, filepath.Join(home, homeName))
	}
	return set
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// Warehouses returns the addresses of the workspaces' own warehouses.
func (s Set) Warehouses() (addrs []string) {
	for _, ws := range s {
		if dir := filepath.Join(ws, "warehouse"); isDir(dir) {
			addrs = append(addrs, "ca+file://"+dir)
		}
	}
	return addrs
}

// catalogs returns the directories of all catalogs, in the order they are looked into.
func (s Set) catalogs() (dirs []string) {
	for _, ws := range s {
		if dir := filepath.Join(ws, "catalog"); isDir(dir) {
			dirs = append(dirs, dir)
		}
		named, _ := os.ReadDir(filepath.Join(ws, "catalogs")) // sorted by name
		for _, entry := range named {
			if dir := filepath.Join(ws, "catalogs", entry.Name()); isDir(dir) && !strings.HasPrefix(entry.Name(), ".") {
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

// An Item is what a catalog reference names.
type Item struct {
	ID        warehouse.WareID
	Addresses []string // where its module's mirrors have it
	Catalog   Catalog
	Ref       Ref
	Replay    string // the file of the plot that makes it, or ""

	replayErr error
}

// ReplayError says why the replay that the item's release names cannot be used, or nil.
func (i *Item) ReplayError() error { return i.replayErr }

// ErrUnknown matches the error of a Lookup that found no such item.
var ErrUnknown = errors.New("in no catalog")

// Lookup finds the item that ref, MODULE:RELEASE:ITEM, names. What a catalog says is
// checked: a release has to have the id that its module gives it.
func (s Set) Lookup(ref string) (Item, error) {
	parts := strings.Split(ref, ":")
	if len(parts) != 3 {
		return Item{}, fmt.Errorf("catalog reference %q: want MODULE:RELEASE:ITEM", ref)
	}
	catalogs := s.catalogs()
	var near []string // sentences about what is nearly so
	for _, catalog := range catalogs {
		item, hint, err := Catalog{catalog}.lookup(Ref{parts[0], parts[1], parts[2]})
		if err != nil || !item.ID.IsZero() {
			return item, err
		}
		if hint != "" {
			near = append(near, hint)
		}
	}
	switch {
	case len(catalogs) == 0:
		near = []string{"there is no catalog: no directory from the formula's upwards has a .warpforge/catalog or .warpforge/catalogs"}
	case len(near) == 0:
		near = []string{"looked in " + strings.Join(catalogs, ", ")}
	}
	return Item{}, fmt.Errorf("%s is %w: %s", ref, ErrUnknown, strings.Join(near, "; "))
}

// lookup looks into one catalog. Without an item and an error, the catalog does not
// have it; hint then says what it has instead.
func (c Catalog) lookup(ref Ref) (item Item, hint string, err error) {
	m, err := c.moduleOnly(ref.Module)
	if errors.Is(err, ErrUnknown) {
		return item, "", nil
	}
	if err != nil {
		return item, "", err
	}
	id, ok := find(m.file.Releases, ref.Release)
	if !ok {
		return item, fmt.Sprintf("%s has no release %s%s", m.Dir, ref.Release, didYouMean(ref.Release, m.file.Releases)), nil
	}
	r, err := m.release(ref.Release, id)
	if err != nil {
		return item, "", err
	}
	ware, ok := find(r.file.Items, ref.Item)
	if !ok {
		return item, fmt.Sprintf("release %s of %s has no item %s%s", ref.Release, m.Dir, ref.Item, didYouMean(ref.Item, r.file.Items)), nil
	}
	if item.ID, err = warehouse.ParseWareID(ware); err != nil {
		return item, "", err
	}
	item.Addresses, item.Catalog, item.Ref = m.Addresses(item.ID), c, ref
	if r.Replay != "" {
		item.Replay, item.replayErr = m.ReplayPath(&r)
	}
	return item, "", nil
}

func isNotDir(err error) bool { return err != nil && strings.Contains(err.Error(), "not a directory") }

func find(entries []warpforge.CatalogEntry, name string) (string, bool) {
	i := slices.IndexFunc(entries, func(e warpforge.CatalogEntry) bool { return e.Name.Value == name })
	if i < 0 {
		return "", false
	}
	return entries[i].Value.Value, true
}

func didYouMean(name string, entries []warpforge.CatalogEntry) string {
	best, distance := "", max(2, len(name)/3)+1
	for _, e := range entries {
		if d := levenshtein.Distance(name, e.Name.Value, nil); d < distance {
			best, distance = e.Name.Value, d
		}
	}
	if best == "" {
		return ""
	}
	return ", did you mean " + best + "?"
}

// problem turns the first error of a catalog's file into one that names its place.
func problem(diags hcl.Diagnostics) error {
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		detail := strings.TrimSuffix(d.Detail, ".")
		if d.Subject == nil {
			return fmt.Errorf("catalog: %s", detail)
		}
		return fmt.Errorf("catalog: %s:%d:%d: %s: %s", d.Subject.Filename, d.Subject.Start.Line, d.Subject.Start.Column, d.Summary, detail)
	}
	return nil
}
