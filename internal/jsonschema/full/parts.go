package full

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

var sprintf = fmt.Sprintf

// properties applies the keywords of objects.
func (x *visit) properties(object map[string]any) {
	x.count("minProperties", "maxProperties", len(object))
	if missing := lacks(object, x.n.object["required"]); len(missing) > 0 {
		word := "property"
		if len(missing) > 1 {
			word = "properties"
		}
		x.say("required", "missing "+word+" "+quoted(missing))
	}
	names := slices.Sorted(maps.Keys(object))
	x.dependencies(object, names)
	var additional []string
	rest := x.n.one["additionalProperties"]
	for _, name := range names {
		known := x.property(name, object[name])
		if !known && rest != nil {
			known = true
			if rest.schema == false {
				additional = append(additional, name)
			} else {
				x.fail(x.child(rest, object[name], x.at.field(name)))
			}
		}
		if known && x.set.track {
			x.seen.name(name)
		}
	}
	if len(additional) > 0 {
		x.say("additionalProperties", "additional properties "+quoted(additional)+" not allowed")
	}
	if n := x.n.one["propertyNames"]; n != nil {
		for _, name := range names {
			if len(x.child(n, name, x.at.field(name))) > 0 {
				x.say("propertyNames", "invalid propertyName "+quoted([]string{name}))
			}
		}
	}
}

// property applies what is said of a property by its name, and reports whether anything is.
func (x *visit) property(name string, v any) (known bool) {
	at := x.at.field(name)
	if n := x.n.named["properties"][name]; n != nil {
		known = true
		x.fail(x.child(n, v, at))
	}
	patterns := x.n.named["patternProperties"]
	for _, pattern := range slices.Sorted(maps.Keys(patterns)) {
		if x.set.regexps[pattern].MatchString(name) {
			known = true
			x.fail(x.child(patterns[pattern], v, at))
		}
	}
	return known
}

// dependencies applies what is asked of an object because of a property it has.
func (x *visit) dependencies(object map[string]any, names []string) {
	for _, k := range []string{"dependencies", "dependentRequired"} {
		wanted := asObject(x.n.object[k])
		if k == "dependentRequired" && x.n.res.draft < 2019 {
			continue
		}
		for _, name := range names {
			if missing := lacks(object, wanted[name]); len(missing) > 0 {
				x.say(k+"/"+escape(name), "properties "+quoted(missing)+" required, if "+quoted([]string{name})+" exists")
			}
		}
	}
	for _, k := range []string{"dependencies", "dependentSchemas"} {
		for _, name := range names {
			if n := x.n.named[k][name]; n != nil {
				x.fail(x.same(n))
			}
		}
	}
}

// lacks returns which of the names in wanted, if that is a list, object does not have.
func lacks(object map[string]any, wanted any) (missing []string) {
	for _, want := range asList(wanted) {
		if name, ok := want.(string); ok {
			if _, there := object[name]; !there {
				missing = append(missing, name)
			}
		}
	}
	return missing
}

func quoted(names []string) string {
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = quote(name)
	}
	return strings.Join(texts, ", ")
}

// quote writes a string in single quotes.
func quote(s string) string {
	q := fmt.Sprintf("%q", s)
	return "'" + strings.ReplaceAll(strings.ReplaceAll(q[1:len(q)-1], `\"`, `"`), "'", `\'`) + "'"
}

// elements applies the keywords of arrays.
func (x *visit) elements(list []any) {
	x.count("minItems", "maxItems", len(list))
	if x.n.object["uniqueItems"] == true {
		x.unique(list)
	}
	first, rest := "prefixItems", "items"
	if x.n.res.draft < 2020 {
		first, rest = "items", "additionalItems"
	}
	prefix, others := x.n.list[first], x.n.one[rest]
	if x.n.res.draft < 2020 && len(prefix) == 0 {
		// items is one schema, and additionalItems says nothing; an empty list leaves all to that.
		if _, isList := x.n.object["items"].([]any); !isList {
			others, rest = x.n.one["items"], "items"
		}
	}
	done := min(len(prefix), len(list))
	for i, item := range list[:done] {
		x.fail(x.child(prefix[i], item, x.at.item(i)))
		if x.set.track {
			x.seen.item(i)
		}
	}
	switch {
	case others == nil:
	case others.schema == false && rest == "additionalItems" && done < len(list):
		x.say(rest, sprintf("last %d additionalItem(s) not allowed", len(list)-done))
	default:
		for i, item := range list[done:] {
			x.fail(x.child(others, item, x.at.item(done+i)))
		}
		x.seen.allItems = true
	}
	x.contains(list)
}

// contains applies contains, minContains and maxContains.
func (x *visit) contains(list []any) {
	n := x.n.one["contains"]
	if n == nil {
		return
	}
	var fits []int
	var all []Violation
	for i, item := range list {
		if found := x.child(n, item, x.at.item(i)); len(found) > 0 {
			all = append(all, found...)
			continue
		}
		fits = append(fits, i)
		if x.n.res.draft >= 2020 && x.set.track {
			x.seen.item(i)
		}
	}
	least := 1
	if k, ok := x.number("minContains"); ok && x.n.res.draft >= 2019 {
		if least = x.whole(k); len(fits) < least {
			x.say("minContains", sprintf("min %d items required to match contains schema, but matched %d", least, len(fits)))
		}
	} else if len(fits) == 0 {
		x.say("contains", "no items match contains schema")
		x.fail(all)
	}
	if k, ok := x.number("maxContains"); ok && x.n.res.draft >= 2019 && len(fits) > x.whole(k) {
		x.say("maxContains", sprintf("max %d items required to match contains schema, but matched %d", x.whole(k), len(fits)))
	}
}

// unique says which two items are equal. Items are told apart by their canonical
// form, so that many cost no more than few.
func (x *visit) unique(list []any) {
	first := make(map[string]int, len(list))
	for i, item := range list {
		form := canonical(item)
		if j, ok := first[form]; ok {
			x.say("uniqueItems", sprintf("items at %d and %d are equal", j, i))
			return
		}
		first[form] = i
	}
}
