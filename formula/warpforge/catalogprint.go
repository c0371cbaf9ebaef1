package warpforge

import (
	"bytes"
	"maps"
	"slices"
	"strings"
)

// PrintCatalogModule writes a _module.json.
func PrintCatalogModule(m CatalogModule) []byte {
	o := obj("name", m.Name.Value)
	o.add("releases", entriesObject(m.Releases))
	o.add("metadata", entriesObject(m.Metadata))
	return printed(obj("catalogmodule.v1", o))
}

// PrintCatalogRelease writes a file of a module's _releases, and sets its ID.
func PrintCatalogRelease(rel *CatalogRelease) []byte {
	rel.ID = rel.id()
	o := obj("releaseName", rel.Name.Value)
	o.add("items", entriesObject(rel.Items))
	o.add("metadata", entriesObject(rel.Metadata))
	return printed(o)
}

// PrintCatalogMirrors writes a _mirrors.json.
func PrintCatalogMirrors(m CatalogMirrors) []byte {
	o := obj("byWare", addressesObject(m.ByWare))
	if len(m.ByModule) > 0 {
		modules := &object{}
		for _, name := range slices.Sorted(maps.Keys(m.ByModule)) {
			modules.add(name, addressesObject(m.ByModule[name]))
		}
		o.add("byModule", modules)
	}
	return printed(obj("catalogmirrors.v1", o))
}

// ReplayID is the id by which a release names the plot that makes its items.
func ReplayID(plot *Plot) string { return cidOf(plot.object().document()) }

// IsReplay reports whether id is that of the plot. Older catalogs name plots by SHA-512.
func IsReplay(id string, plot *Plot) bool {
	document := plot.object().document()
	return id == cidOf(document) || id == cidSHA512(document)
}

// CheckModuleName returns why a catalog can have no module of this name, or "".
func CheckModuleName(name string) string { return moduleNameProblem(name) }

// CheckLabel returns why a release or an item cannot have this name, or "".
func CheckLabel(name string) string {
	var r reader
	r.label(Text{Value: name}, "release")
	if len(r.diags) > 0 || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "/\\") {
		return "it is empty, begins with a dot, or has a slash, a colon, a space or what cannot be printed"
	}
	return ""
}

func entriesObject(entries []CatalogEntry) *object {
	o := &object{}
	for _, e := range entries {
		o.add(e.Name.Value, e.Value.Value)
	}
	return o
}

func addressesObject(addresses map[string][]string) *object {
	o := &object{}
	for _, of := range slices.Sorted(maps.Keys(addresses)) {
		var items []any
		for _, addr := range addresses[of] {
			items = append(items, addr)
		}
		o.add(of, items)
	}
	return o
}

func printed(o *object) []byte {
	var b bytes.Buffer
	write(&b, o, 0)
	b.WriteByte('\n')
	return b.Bytes()
}

// document is o as cidOf takes it.
func (o *object) document() map[string]any {
	m := map[string]any{}
	for i, name := range o.names {
		m[name] = plain(o.values[i])
	}
	return m
}

func plain(v any) any {
	switch v := v.(type) {
	case *object:
		return v.document()
	case []any:
		items := make([]any, len(v))
		for i := range v {
			items[i] = plain(v[i])
		}
		return items
	}
	return v
}
