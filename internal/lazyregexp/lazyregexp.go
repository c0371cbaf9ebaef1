// Package lazyregexp compiles regular expressions when they are first needed: kiln is
// started often, and most starts need few of those that it has.
package lazyregexp

import (
	"regexp"
	"sync"
)

// A Regexp is a regular expression as package regexp has them. Its methods, which are
// regexp.Regexp's, panic if it is not one.
type Regexp struct{ compiled func() *regexp.Regexp }

// New makes a Regexp.
func New(expr string) *Regexp {
	return &Regexp{sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })}
}

func (r *Regexp) MatchString(s string) bool { return r.compiled().MatchString(s) }

func (r *Regexp) FindStringSubmatch(s string) []string { return r.compiled().FindStringSubmatch(s) }

func (r *Regexp) FindAllSubmatchIndex(b []byte, n int) [][]int {
	return r.compiled().FindAllSubmatchIndex(b, n)
}

func (r *Regexp) ReplaceAllString(s, by string) string { return r.compiled().ReplaceAllString(s, by) }
