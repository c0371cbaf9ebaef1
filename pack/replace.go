package pack

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/warehouse"
)

// Remove takes away what was added at path, with all below it. There need not be
// anything. It needs Replace.
func (b *Builder) Remove(path string) error {
	parts, err := b.components(path)
	if err == nil && parts != nil {
		err = b.take(parts)
	}
	if err != nil {
		return &EntryError{path, err}
	}
	return nil
}

// Clear takes away all that was added below the directory at path, not the directory
// itself. There need not be one. It needs Replace.
func (b *Builder) Clear(path string) error {
	if err := b.clear(path); err != nil {
		return &EntryError{path, err}
	}
	return nil
}

func (b *Builder) clear(path string) error {
	parts, err := b.components(path)
	if err != nil || parts == nil || !b.has(parts) {
		return err
	}
	p, err := b.reach(parts)
	if err != nil {
		return err
	}
	for len(p.nodes) > 0 {
		if err := b.remove(p, p.nodes[len(p.nodes)-1].name); err != nil {
			return err
		}
	}
	return nil
}

// take removes what is at path, if anything is.
func (b *Builder) take(path []string) error {
	if len(path) == 0 {
		return errors.New("the root of a fileset cannot be removed")
	}
	parent, name := path[:len(path)-1], path[len(path)-1]
	if len(b.later) > 0 {
		delete(b.later, strings.Join(path, "/"))
	}
	if !b.has(parent) {
		return nil
	}
	p, err := b.reach(parent)
	if err != nil {
		return err
	}
	return b.remove(p, name)
}

// prune removes the directories below p that were taken only for what was in them, and
// which it was removed from: the patterns are of the fileset, not of each layer.
func (b *Builder) prune(p *planted, path []string) error {
	for name, sub := range p.subs {
		at := append(path[:len(path):len(path)], name)
		if err := b.prune(sub, at); err != nil {
			return err
		}
		if _, maybe := b.taken(at, true); maybe && len(sub.nodes) == 0 {
			if err := b.take(at); err != nil {
				return err
			}
		}
	}
	return nil
}

// remove removes an entry of p, which is open.
func (b *Builder) remove(p *planted, name string) error {
	if !b.o.Replace {
		return errors.New("nothing can be removed from a fileset that is not made of layers")
	}
	i, is := p.index[name]
	if !is {
		return nil
	}
	err := b.crew.drain() // which knows nodes by their place
	if err != nil {
		return err
	}
	if sub := p.subs[name]; sub != nil {
		entries, bytes := sub.count()
		b.entries.Add(-entries)
		b.bytes.Add(-bytes)
		delete(p.subs, name)
		// A path by way of the descriptor: nothing in between can be a link.
		err = warehouse.RemoveTree(fmt.Sprintf("/proc/self/fd/%d/%s", p.dst, name))
	} else {
		b.entries.Add(-1)
		b.bytes.Add(-p.nodes[i].digest.size)
		err = unix.Unlinkat(p.dst, name, 0)
	}
	if err != nil {
		return &os.PathError{Op: "remove", Path: name, Err: err}
	}
	last := len(p.nodes) - 1
	p.nodes[i] = p.nodes[last]
	p.index[p.nodes[i].name] = i
	p.nodes = p.nodes[:last]
	delete(p.index, name)
	return nil
}

// count returns how many entries p is, with itself, and the bytes of its files.
func (p *planted) count() (entries, bytes int64) {
	for queue := []*planted{p}; len(queue) > 0; {
		p := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		entries++
		for i := range p.nodes {
			if sub := p.subs[p.nodes[i].name]; sub != nil {
				queue = append(queue, sub)
				continue
			}
			entries++
			bytes += p.nodes[i].digest.size
		}
	}
	return entries, bytes
}
