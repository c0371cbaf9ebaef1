package full

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// link finds what all references refer to, and compiles what is compiled.
func (s *set) link() error {
	for len(s.queue) > 0 {
		n := s.queue[0]
		s.queue = s.queue[1:]
		if err := s.linkNode(n); err != nil {
			return err
		}
	}
	return nil
}

func (s *set) linkNode(n *node) error {
	n.refs = map[string]*node{}
	for k, from := range map[string]draft{"$ref": 4, "$dynamicRef": 2020, "$recursiveRef": 2019} {
		ref, ok := n.object[k].(string)
		if !ok || n.res.draft < from || k == "$recursiveRef" && n.res.draft > 2019 {
			continue
		}
		to, err := s.refer(n.res.url, ref)
		if err != nil {
			return fmt.Errorf("%s/%s: %w", n.at, escape(k), err)
		}
		n.refs[k] = to
	}
	if pattern, ok := n.object["pattern"].(string); ok {
		if err := s.regexp(pattern); err != nil {
			return fmt.Errorf("%s/pattern: %w", n.at, err)
		}
	}
	for pattern := range n.named["patternProperties"] {
		if err := s.regexp(pattern); err != nil {
			return fmt.Errorf("%s/patternProperties: %w", n.at, err)
		}
	}
	for _, v := range n.object {
		if number, ok := v.(json.Number); ok {
			s.numbers[number], _ = new(big.Rat).SetString(string(number))
		}
	}
	return nil
}

func (s *set) regexp(pattern string) error {
	if s.regexps[pattern] != nil {
		return nil
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return fmt.Errorf("the pattern %q: %w", pattern, err)
	}
	s.regexps[pattern] = re
	return nil
}

func outside(ref string) error {
	return fmt.Errorf("%s is outside the schema, and nothing is fetched: put it into $defs and refer to it as #/$defs/NAME", ref)
}

// refer returns what a reference refers to, seen from the resource at from.
func (s *set) refer(from, ref string) (*node, error) {
	full, err := resolve(from, ref)
	if err != nil {
		return nil, err
	}
	at, fragment, _ := strings.Cut(full, "#")
	if fragment, err = url.PathUnescape(fragment); err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	root, err := s.get(at)
	if errors.Is(err, errOutside) {
		return nil, outside(ref)
	}
	switch {
	case err != nil:
		return nil, err
	case fragment == "":
		return root, nil
	case fragment[0] != '/':
		if n := root.res.anchors[fragment]; n != nil {
			return n, nil
		}
		return nil, fmt.Errorf("%s: no schema there has that anchor", ref)
	}
	to, err := s.walk(root, fragment)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	return to, nil
}

var errOutside = errors.New("outside the schema")

// get returns the schema at a URL: one of a draft is added when it is asked for.
func (s *set) get(at string) (*node, error) {
	if r := s.resources[at]; r != nil {
		return r.root, nil
	}
	doc := publishedAt(at)
	if doc == nil {
		return nil, errOutside
	}
	return s.add(at, doc)
}

// walk returns the schema at a JSON pointer seen from n, also one below no keyword of schemas.
func (s *set) walk(n *node, pointer string) (*node, error) {
	schema, at, in := n.schema, n.at, n.res
	for _, part := range strings.Split(pointer, "/")[1:] {
		name, ok := unescape(part), false
		switch v := schema.(type) {
		case map[string]any:
			schema, ok = v[name]
		case []any:
			i, err := strconv.Atoi(name)
			if ok = err == nil && i >= 0 && i < len(v); ok {
				schema = v[i]
			}
		}
		if !ok {
			return nil, fmt.Errorf("there is no %s at %s", name, strings.TrimPrefix(n.doc, base)+"#"+at)
		}
		at += "/" + escape(name)
		if known := s.nodes[n.doc+"#"+at]; known != nil {
			in = known.res
		}
	}
	if known := s.nodes[n.doc+"#"+at]; known != nil {
		return known, nil
	}
	// It lies where the draft expects no schema, and was not checked with the others.
	if n.doc == base {
		if err := in.draft.check(schema, at, nil); err != nil {
			return nil, err
		}
	}
	return s.node(schema, n.doc, at, in)
}
