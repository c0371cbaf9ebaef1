package oci

import (
	"errors"
	"fmt"
	"strings"

	"github.com/kilnbuild/kiln/pack"
)

// A tree is what an image's layers have made so far, without content. The Builder
// cannot answer for it: patterns and filters keep things from it that names of later
// entries lead through.
type tree struct {
	root  *entry
	layer int // the one being applied
	// The directory resolved last, which most entries share with the one before.
	// Anything that could make its name mean another one clears it.
	last string
	dir  *place
}

// An entry is what is at one path.
type entry struct {
	kind  pack.Kind
	link  string // of a symlink
	layer int    // the last one that touched it, or anything below it
	clear int    // the last one, counted from 1, that took away what was below it
	kids  map[string]*entry
}

// A place is a directory of the image by its true path, which no symlink is in.
type place struct {
	path  []string
	chain []*entry // from the root to the directory; shorter than the path if it does not exist
}

func newTree() *tree {
	return &tree{root: &entry{kind: pack.KindDir, layer: -1, kids: map[string]*entry{}}, layer: -1}
}

// maxLinks is how many symlinks one name may lead through: Linux allows 40, other
// tools that unpack images 255.
const maxLinks = 255

// resolve follows a directory's name through the symlinks in it, none of which leads
// out of the image. What does not exist is taken by its name.
func (t *tree) resolve(name string) (*place, error) {
	if t.dir != nil && t.last == name {
		return t.dir, nil
	}
	at := &place{chain: []*entry{t.root}}
	links := 0
	for todo := components(name); len(todo) > 0; {
		c := todo[0]
		todo = todo[1:]
		if c == ".." {
			at.up()
			continue
		}
		kid := at.entry().child(c)
		if kid == nil || kid.kind != pack.KindSymlink {
			at.path = append(at.path, c)
			if kid != nil {
				at.chain = append(at.chain, kid)
			}
			continue
		}
		if links++; links > maxLinks {
			return nil, errors.New("its path leads through too many symlinks")
		}
		if strings.HasPrefix(kid.link, "/") {
			at.path, at.chain = nil, at.chain[:1]
		}
		todo = append(components(kid.link), todo...)
		if len(todo) > 1<<16 {
			return nil, errors.New("its path leads through symlinks to one that is too long")
		}
	}
	t.last, t.dir = name, at
	return at, nil
}

// components splits a path, without what means nothing in it.
func components(path string) []string {
	var list []string
	for c := range strings.SplitSeq(path, "/") {
		if c != "" && c != "." {
			list = append(list, c)
		}
	}
	return list
}

func (p *place) up() {
	if len(p.path) == 0 {
		return // the root's parent is the root
	}
	if p.exists() {
		p.chain = p.chain[:len(p.chain)-1]
	}
	p.path = p.path[:len(p.path)-1]
}

func (p *place) exists() bool { return len(p.chain) == len(p.path)+1 }

// entry is what is at the place; nil if nothing is.
func (p *place) entry() *entry {
	if !p.exists() {
		return nil
	}
	return p.chain[len(p.chain)-1]
}

// name is the path of something in the place.
func (p *place) name(base string) string {
	return strings.Join(append(p.path[:len(p.path):len(p.path)], base), "/")
}

func (e *entry) child(name string) *entry {
	if e == nil {
		return nil
	}
	return e.kids[name]
}

// make makes the directories of the place that are missing, and notes that the layer
// touched them all.
func (t *tree) make(p *place) error {
	for i := range p.chain {
		if p.chain[i].kind != pack.KindDir {
			return fmt.Errorf("its path leads through %q, which is no directory", strings.Join(p.path[:i], "/"))
		}
		p.chain[i].layer = t.layer
	}
	for !p.exists() {
		e := &entry{kind: pack.KindDir, layer: t.layer}
		p.entryAbove().put(p.path[len(p.chain)-1], e)
		p.chain = append(p.chain, e)
	}
	return nil
}

// entryAbove is the deepest directory of the place that exists.
func (p *place) entryAbove() *entry { return p.chain[len(p.chain)-1] }

func (e *entry) put(name string, kid *entry) {
	if e.kids == nil {
		e.kids = map[string]*entry{}
	}
	e.kids[name] = kid
}

// put makes e what is at base in the place.
func (t *tree) put(p *place, base string, e *entry) {
	e.layer = t.layer
	if old := p.entry().kids[base]; old != nil || e.kind == pack.KindSymlink {
		t.dir = nil
	}
	p.entry().put(base, e)
}

// forget ends what is known of directories' names.
func (t *tree) forget() { t.dir = nil }
