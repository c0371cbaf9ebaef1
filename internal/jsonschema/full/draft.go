package full

import (
	"embed"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// A draft is the year of a draft, or its number before they had years.
type draft int

const latest draft = 2020

// idKeyword names a schema's URL.
func (d draft) idKeyword() string {
	if d == 4 {
		return "id"
	}
	return "$id"
}

// refAlone reports whether a $ref hides all keywords beside it.
func (d draft) refAlone() bool { return d < 2019 }

// A keyword holds schemas: one, a list of them, or some by name.
type keyword struct {
	name        string
	from, until draft // the first and last that have it
}

var (
	ofOne = []keyword{
		{"not", 4, latest}, {"items", 4, latest}, {"additionalItems", 4, 2019}, {"additionalProperties", 4, latest},
		{"contains", 6, latest}, {"propertyNames", 6, latest}, {"if", 7, latest}, {"then", 7, latest}, {"else", 7, latest},
		{"unevaluatedItems", 2019, latest}, {"unevaluatedProperties", 2019, latest}, {"contentSchema", 2019, latest},
	}
	ofList = []keyword{
		{"allOf", 4, latest}, {"anyOf", 4, latest}, {"oneOf", 4, latest}, {"items", 4, 2019}, {"prefixItems", 2020, latest},
	}
	ofNames = []keyword{
		{"properties", 4, latest}, {"patternProperties", 4, latest}, {"definitions", 4, latest}, {"dependencies", 4, latest},
		{"$defs", 2019, latest}, {"dependentSchemas", 2019, latest},
	}
)

// has returns the names of the keywords that d has.
func (d draft) has(all []keyword) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, k := range all {
			if k.from <= d && d <= k.until && !yield(k.name) {
				return
			}
		}
	}
}

// draftOf returns the draft that a $schema names.
func draftOf(url string) (draft, bool) {
	_, rest, ok := strings.Cut(strings.TrimSuffix(url, "#"), "://json-schema.org/")
	if !ok || !strings.HasPrefix(url, "http") {
		return 0, false
	}
	switch rest {
	case "schema":
		return latest, true
	case "draft/2020-12/schema":
		return 2020, true
	case "draft/2019-09/schema":
		return 2019, true
	case "draft-07/schema":
		return 7, true
	case "draft-06/schema":
		return 6, true
	case "draft-04/schema":
		return 4, true
	}
	return 0, false
}

// url is where the schema of d's schemas is.
func (d draft) url() string {
	switch d {
	case 2020:
		return "https://json-schema.org/draft/2020-12/schema"
	case 2019:
		return "https://json-schema.org/draft/2019-09/schema"
	}
	return fmt.Sprintf("http://json-schema.org/draft-%02d/schema", int(d))
}

// The schemas of the drafts, as json-schema.org publishes them.
//
//go:embed meta
var published embed.FS

// publishedAt returns the schema that json-schema.org has at url, or nil.
func publishedAt(url string) any {
	_, rest, ok := strings.Cut(url, "://json-schema.org/")
	if !ok || !strings.HasPrefix(url, "http") {
		return nil
	}
	text, err := published.ReadFile("meta/" + strings.TrimPrefix(rest, "draft/") + ".json")
	if err != nil {
		return nil
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var doc any
	if d.Decode(&doc) != nil {
		return nil
	}
	return doc
}

var metas sync.Map // draft → func() *Schema

// meta returns the schema that schemas of d must fit.
func (d draft) meta() *Schema {
	once, _ := metas.LoadOrStore(d, sync.OnceValue(func() *Schema {
		s := newSet()
		root, err := s.get(d.url())
		if err == nil {
			err = s.link()
		}
		if err != nil {
			panic("jsonschema: " + d.url() + ": " + err.Error())
		}
		return &Schema{root: root, set: s}
	}))
	return once.(func() *Schema)()
}

// checkDrafts checks a schema, and those inside that are of another draft, against
// the schemas of their drafts.
func (s *set) checkDrafts(doc any) error {
	foreign := map[string]bool{}
	for _, r := range s.resources {
		if r.root.at != "" && r.draft != s.resources[base].draft {
			foreign[r.root.at] = true
		}
	}
	for at := range foreign {
		if err := s.at(at).draft.check(s.at(at).root.schema, at, nil); err != nil {
			return err
		}
	}
	return s.resources[base].draft.check(doc, "", foreign)
}

// at returns the resource that begins at a place in the document.
func (s *set) at(place string) *resource { return s.nodes[base+"#"+place].res }

// check checks a schema against the schema of d; what lies at the places of skip counts as true.
func (d draft) check(schema any, at string, skip map[string]bool) error {
	if len(skip) > 0 {
		schema = without(schema, "", skip)
	}
	found, err := d.meta().Validate(schema)
	if err != nil || len(found) == 0 {
		return err
	}
	for i := range found {
		found[i].Pointer = at + found[i].Pointer
	}
	return &InvalidError{slices.Clip(found)}
}

// without returns v with true in place of what is at skip.
func without(v any, at string, skip map[string]bool) any {
	if skip[at] {
		return true
	}
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for name, item := range v {
			m[name] = without(item, at+"/"+escape(name), skip)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i, item := range v {
			list[i] = without(item, fmt.Sprintf("%s/%d", at, i), skip)
		}
		return list
	}
	return v
}
