package pack

import (
	"fmt"
	"path"
	"strings"

	"github.com/bmatcuk/doublestar/v4"
)

// A matcher decides by its path what of a fileset is taken.
type matcher struct {
	include, exclude []string
	prefixes         []string // of include: what a directory must match to lead to a match
}

// newMatcher returns nil if the patterns take everything.
func newMatcher(include, exclude []string) (*matcher, error) {
	if len(include) == 0 && len(exclude) == 0 {
		return nil, nil
	}
	var m matcher
	var err error
	if m.include, err = cleanPatterns(include); err != nil {
		return nil, err
	}
	if m.exclude, err = cleanPatterns(exclude); err != nil {
		return nil, err
	}
	for _, p := range m.include {
		m.prefixes = append(m.prefixes, leading(p)...)
	}
	return &m, nil
}

func cleanPatterns(patterns []string) ([]string, error) {
	out := make([]string, len(patterns))
	for i, p := range patterns {
		if p == "" || !doublestar.ValidatePattern(p) {
			return nil, fmt.Errorf("pattern %q: malformed", p)
		}
		out[i] = strings.TrimPrefix(path.Clean("/"+p), "/")
		if out[i] == "" { // "." or "/": the root, and so everything
			out[i] = "**"
		}
	}
	return out, nil
}

// leading returns patterns for the directories above what p matches. From "**" on,
// and from braces on that may hold slashes, anything may lead to a match.
func leading(p string) []string {
	var out []string
	for i := 0; i < len(p); i++ {
		end := plainBraces(p[i:])
		switch {
		case end > 0:
			i += end
		case p[i] == '{' || strings.HasPrefix(p[i:], "**"):
			return append(out, p[:strings.LastIndexByte(p[:i], '/')+1]+"**")
		case p[i] == '/':
			out = append(out, p[:i])
		}
	}
	return out
}

// plainBraces returns where the braces end that p begins with, if what is in them is part of
// one component of a path and easily seen to be; otherwise 0.
func plainBraces(p string) int {
	end := strings.IndexByte(p, '}')
	if p[0] != '{' || end < 0 || strings.ContainsAny(p[1:end], `{/\[`) || strings.Contains(p[1:end], "**") {
		return 0
	}
	return end
}

// take reports whether the entry at rel is taken; maybe says that it is a directory
// taken only for what may be in it. covered says that its parent is taken whole.
func (m *matcher) take(rel string, isDir, covered bool) (take, maybe bool) {
	switch {
	case matchAny(m.exclude, rel):
		return false, false
	case covered, matchAny(m.include, rel):
		return true, false
	case isDir && matchAny(m.prefixes, rel):
		return true, true
	}
	return false, false
}

func matchAny(patterns []string, rel string) bool {
	for _, p := range patterns {
		if doublestar.MatchUnvalidated(p, rel) {
			return true
		}
	}
	return false
}
