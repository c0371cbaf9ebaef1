package warpforge

import (
	"os"

	"github.com/hashicorp/hcl/v2"
)

// A CatalogModule is what a catalog's _module.json says.
type CatalogModule struct {
	Name     Text
	Releases []CatalogEntry // by release: the id of the release
	Metadata []CatalogEntry
}

// A CatalogEntry is one name in a catalog and what it stands for.
type CatalogEntry struct{ Name, Value Text }

// A CatalogRelease is one release of a module.
type CatalogRelease struct {
	Name     Text
	Items    []CatalogEntry // ware ids
	Metadata []CatalogEntry
	ID       string // of the file's content, for _module.json to name
}

// ReplayKey is the metadata of a release that names, by its id, the plot that makes its
// items.
const ReplayKey = "replay"

// CatalogMirrors says where wares of a module can be fetched.
type CatalogMirrors struct {
	ByWare   map[string][]string            // ware id → addresses
	ByModule map[string]map[string][]string // module → packtype → addresses
}

// readCatalog parses one file of a catalog.
func readCatalog(file string, read func(*reader, node)) hcl.Diagnostics {
	src, err := ReadFile(file)
	if err != nil {
		return hcl.Diagnostics{problem(hcl.Range{}, "Catalog cannot be read", "%s cannot be read: %s.", file, err)}
	}
	r := &reader{src: src}
	if n, ok := r.parse(file); ok {
		read(r, n)
	}
	return r.diags
}

// ReadCatalogModule reads a _module.json.
func ReadCatalogModule(file string) (m CatalogModule, diags hcl.Diagnostics) {
	diags = readCatalog(file, func(r *reader, n node) {
		inner, ok := r.capsule(n, "A catalog's module", "catalogmodule.v1")
		if !ok {
			return
		}
		fields, ok := r.fields(inner, "A catalog's module", "name!", "releases!", "metadata")
		if !ok {
			return
		}
		m.Name, _ = r.text(fields["name"], "A module's name")
		m.Releases = r.entries(fields["releases"], "The list of releases")
		if metadata, there := fields["metadata"]; there {
			m.Metadata = r.entries(metadata, "The metadata")
		}
	})
	return m, diags
}

// ReadCatalogRelease reads a file of a module's _releases.
func ReadCatalogRelease(file string) (rel CatalogRelease, diags hcl.Diagnostics) {
	diags = readCatalog(file, func(r *reader, n node) {
		fields, ok := r.fields(n, "A release", "releaseName!", "items!", "metadata!")
		if !ok {
			return
		}
		rel.Name, _ = r.text(fields["releaseName"], "A release's name")
		rel.Items = r.entries(fields["items"], "The list of items")
		for _, item := range rel.Items {
			r.wareID(item.Value.Value, item.Value.Range)
		}
		rel.Metadata = r.entries(fields["metadata"], "The metadata")
		rel.ID = rel.id()
	})
	return rel, diags
}

func (rel *CatalogRelease) id() string {
	return cidOf(map[string]any{"releaseName": rel.Name.Value, "items": entryMap(rel.Items), "metadata": entryMap(rel.Metadata)})
}

func entryMap(entries []CatalogEntry) map[string]any {
	m := map[string]any{}
	for _, e := range entries {
		m[e.Name.Value] = e.Value.Value
	}
	return m
}

// ReadCatalogMirrors reads a _mirrors.json; there need not be one.
func ReadCatalogMirrors(file string) (m CatalogMirrors, diags hcl.Diagnostics) {
	m = CatalogMirrors{ByWare: map[string][]string{}, ByModule: map[string]map[string][]string{}}
	if _, err := os.Stat(file); os.IsNotExist(err) {
		return m, nil
	}
	diags = readCatalog(file, func(r *reader, n node) {
		inner, ok := r.capsule(n, "A list of mirrors", "catalogmirrors.v1")
		if !ok {
			return
		}
		fields, _ := r.fields(inner, "A list of mirrors", "byWare", "byModule")
		if byWare, there := fields["byWare"]; there {
			m.ByWare = r.addresses(byWare)
		}
		if byModule, there := fields["byModule"]; there {
			modules, _ := r.object(byModule, "The mirrors by module")
			for _, module := range modules {
				m.ByModule[module.key.Value] = r.addresses(module.value)
			}
		}
	})
	return m, diags
}

func (r *reader) entries(n node, what string) (list []CatalogEntry) {
	members, _ := r.object(n, what)
	for _, m := range members {
		if value, ok := r.text(m.value, what); ok {
			list = append(list, CatalogEntry{m.key, value})
		}
	}
	return list
}

func (r *reader) addresses(n node) map[string][]string {
	m := map[string][]string{}
	members, _ := r.object(n, "A list of mirrors")
	for _, of := range members {
		list, _ := r.texts(of.value, "A list of addresses")
		for _, addr := range list {
			r.warehouseAddr(addr)
			m[of.key.Value] = append(m[of.key.Value], addr.Value)
		}
	}
	return m
}
