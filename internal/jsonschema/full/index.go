package full

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net/url"
	"regexp"
	"strings"
)

// base is where a schema is taken to be, for its own references.
const base = "kiln:///schema"

// A set holds the documents that a schema is made of.
type set struct {
	docs      map[string]any       // by URL
	resources map[string]*resource // by URL, without fragment
	nodes     map[string]*node     // by the document's URL, "#", and the place in it
	queue     []*node              // those whose references are not linked
	regexps   map[string]*regexp.Regexp
	numbers   map[json.Number]*big.Rat // of the schema
	// track says that a schema asks what others have evaluated.
	track bool
}

// A resource is a schema with a URL of its own.
type resource struct {
	url     string
	draft   draft
	root    *node
	anchors map[string]*node
	dynamic map[string]*node // those of $dynamicAnchor
}

// A node is one schema: a boolean or an object.
type node struct {
	schema any
	object map[string]any // nil for a boolean
	alone  bool           // its $ref hides all else, in the drafts where it does
	doc    string         // URL of the document
	at     string         // JSON pointer into it
	res    *resource
	one    map[string]*node
	list   map[string][]*node
	named  map[string]map[string]*node
	refs   map[string]*node // $ref, $dynamicRef, $recursiveRef
}

func newSet() *set {
	return &set{
		docs: map[string]any{}, resources: map[string]*resource{}, nodes: map[string]*node{}, regexps: map[string]*regexp.Regexp{},
		numbers: map[json.Number]*big.Rat{},
	}
}

// add adds a document.
func (s *set) add(at string, doc any) (*node, error) {
	s.docs[at] = doc
	return s.node(doc, at, "", &resource{url: at, draft: latest})
}

// node adds the schema at a place of a document, and all below it.
func (s *set) node(schema any, doc, at string, in *resource) (*node, error) {
	if n := s.nodes[doc+"#"+at]; n != nil {
		return n, nil
	}
	n := &node{schema: schema, doc: doc, at: at, res: in}
	object, isObject := schema.(map[string]any)
	if !isObject {
		if in.root == nil {
			s.begin(n, in.url, in.draft)
		}
		s.nodes[doc+"#"+at] = n
		return n, nil
	}
	if err := s.identify(n, object); err != nil {
		return nil, err
	}
	s.nodes[doc+"#"+at] = n
	n.object = object
	_, ref := object["$ref"].(string)
	n.alone = ref && n.res.draft.refAlone()
	s.queue = append(s.queue, n)
	return n, s.below(n)
}

// begin makes n the root of a resource.
func (s *set) begin(n *node, at string, d draft) {
	n.res = &resource{url: at, draft: d, root: n, anchors: map[string]*node{}, dynamic: map[string]*node{}}
	s.resources[at] = n.res
}

// identify finds the resource that n belongs to and the names it has there.
func (s *set) identify(n *node, object map[string]any) error {
	d, in := n.res.draft, n.res
	if name, ok := object["$schema"].(string); ok {
		known := false
		if d, known = draftOf(name); !known {
			return outside(name)
		}
	}
	id, anchor := "", ""
	if _, ref := object["$ref"]; !ref || !d.refAlone() {
		text, _ := object[d.idKeyword()].(string)
		id, anchor, _ = strings.Cut(text, "#")
		if d >= 2019 {
			anchor, _ = object["$anchor"].(string)
		}
	}
	switch {
	case id != "":
		at, err := resolve(in.url, id)
		if err != nil {
			return err
		}
		if other := s.resources[at]; other != nil {
			return fmt.Errorf("two schemas are %s: at %q and at %q", id, other.root.at, n.at)
		}
		s.begin(n, at, d)
		if n.at == "" {
			s.resources[n.doc] = n.res
		}
	case in.root == nil:
		s.begin(n, in.url, d)
	}
	dynamic := ""
	if d >= 2020 {
		dynamic, _ = object["$dynamicAnchor"].(string)
	}
	for _, name := range []string{anchor, dynamic} {
		if other := n.res.anchors[name]; name != "" && other != nil && other != n {
			return fmt.Errorf("two schemas have the anchor %q: at %q and at %q", name, other.at, n.at)
		}
		n.res.anchors[name] = n
	}
	if dynamic != "" {
		n.res.dynamic[dynamic] = n
	}
	delete(n.res.anchors, "")
	return nil
}

// below adds the schemas that n holds.
func (s *set) below(n *node) error {
	n.one, n.list, n.named = map[string]*node{}, map[string][]*node{}, map[string]map[string]*node{}
	object, d := n.object, n.res.draft
	for k := range d.has(ofOne) {
		v, ok := object[k]
		if _, isList := v.([]any); !ok || isList {
			continue
		}
		child, err := s.node(v, n.doc, n.at+"/"+k, n.res)
		if err != nil {
			return err
		}
		n.one[k] = child
		s.track = s.track || strings.HasPrefix(k, "unevaluated")
	}
	for k := range d.has(ofList) {
		values, _ := object[k].([]any)
		for i, v := range values {
			child, err := s.node(v, n.doc, fmt.Sprintf("%s/%s/%d", n.at, k, i), n.res)
			if err != nil {
				return err
			}
			n.list[k] = append(n.list[k], child)
		}
	}
	for k := range d.has(ofNames) {
		values, _ := object[k].(map[string]any)
		n.named[k] = make(map[string]*node, len(values))
		for name, v := range values {
			if _, isList := v.([]any); isList {
				continue // of dependencies
			}
			child, err := s.node(v, n.doc, n.at+"/"+k+"/"+escape(name), n.res)
			if err != nil {
				return err
			}
			n.named[k][name] = child
		}
	}
	return nil
}

func resolve(from, ref string) (string, error) {
	b, err := url.Parse(from)
	if err != nil {
		return "", err
	}
	r, err := url.Parse(ref)
	if err != nil {
		return "", fmt.Errorf("%q is no URL: %w", ref, err)
	}
	return b.ResolveReference(r).String(), nil
}
