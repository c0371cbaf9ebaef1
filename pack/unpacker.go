package pack

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// An unpacker writes a fileset entry by entry. What is at each path it knows from
// what it has written, never from the disk, and it reaches a directory only through
// descriptors of those above it: no name in an archive is ever resolved by the kernel
// beyond one component.
type unpacker struct {
	*walk
	o    ArchiveOptions
	s    *scratch
	root *planted
	open []*planted // the directory written to last and those above it, root first
	// later has the directories, by path, that are taken if something in them is.
	later map[string]meta
}

// A planted directory is one the unpacker has made.
type planted struct {
	dir
	index    map[string]int // in nodes, by name
	subs     map[string]*planted
	explicit bool // the archive has an entry for it
}

// newPlanted makes a directory of which the archive has not told anything.
func (u *unpacker) newPlanted(parent *planted, name string) *planted {
	p := &planted{index: map[string]int{}, subs: map[string]*planted{}}
	p.name, p.fd, p.dst = name, -1, -1
	p.meta = meta{kind: kindDir, mode: 0o755, sec: defaultTime}
	_ = u.o.Filters.apply(&p.meta, true) // rejects no plain directory
	if parent != nil {
		p.parent = &parent.dir
	}
	return p
}

// has reports whether the directory at path has been made.
func (u *unpacker) has(path []string) bool {
	at := u.root
	for _, name := range path {
		if at = at.subs[name]; at == nil {
			return false
		}
	}
	return true
}

// directory makes the directory at path, or gives the one already made for what
// it holds its metadata.
func (u *unpacker) directory(path []string, m meta) error {
	p, err := u.reach(path)
	if err != nil {
		return err
	}
	if p.explicit && p.meta != m {
		return errors.New("the archive has it twice, and not the same")
	}
	p.meta, p.explicit = m, true
	return nil
}

// place returns the directory for the entry at path, which must be new in it.
func (u *unpacker) place(path []string) (*planted, string, error) {
	if len(path) == 0 {
		return nil, "", errors.New("the root of a fileset can only be a directory")
	}
	parent, err := u.reach(path[:len(path)-1])
	if err != nil {
		return nil, "", err
	}
	name := path[len(path)-1]
	if _, twice := parent.index[name]; twice {
		return nil, "", errors.New("the archive has something at its path already")
	}
	return parent, name, nil
}

// reach makes the directory at path the one that is open, creating it and its
// parents as needed.
func (u *unpacker) reach(path []string) (*planted, error) {
	same := 0
	for same < len(path) && same+1 < len(u.open) && u.open[same+1].name == path[same] {
		same++
	}
	u.closeBeyond(same + 1)
	for i, name := range path[same:] {
		at := u.open[len(u.open)-1]
		sub := at.subs[name]
		if sub == nil {
			if j, is := at.index[name]; is {
				return nil, fmt.Errorf("its path leads through %q, which is no directory but %s",
					strings.Join(path[:same+i+1], "/"), kindName(at.nodes[j].meta.kind))
			}
			if err := unix.Mkdirat(at.dst, name, 0o700); err != nil {
				return nil, fmt.Errorf("create directory: %w", err)
			}
			if sub = u.newPlanted(at, name); u.entries.Add(1) > u.o.MaxEntries {
				return nil, fmt.Errorf("it is one entry more than the %d allowed", u.o.MaxEntries)
			}
			if m, is := u.later[strings.Join(path[:same+i+1], "/")]; is {
				sub.meta, sub.explicit = m, true
			}
			at.subs[name] = sub
			at.add(node{name: name, meta: meta{kind: kindDir}})
		}
		var err error
		if sub.dst, err = openat(at.dst, name, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
			return nil, err
		}
		u.open = append(u.open, sub)
	}
	return u.open[len(u.open)-1], nil
}

func kindName(k kind) string {
	return map[kind]string{
		kindFile: "a file", kindSymlink: "a symlink", kindFifo: "a named pipe", kindBlock: "a device", kindChar: "a device",
	}[k]
}

// closeBeyond closes all but the first n open directories.
func (u *unpacker) closeBeyond(n int) {
	for _, p := range u.open[n:] {
		closeDir(&p.dir)
	}
	u.open = u.open[:n]
}

func (p *planted) add(n node) {
	p.index[n.name] = len(p.nodes)
	p.nodes = append(p.nodes, n)
}

// finish gives all directories their metadata and hashes, from the deepest up.
func (u *unpacker) finish() error {
	u.closeBeyond(1)
	u.entries.Add(1) // the root
	return u.leaveAll(u.root)
}

func (u *unpacker) leaveAll(p *planted) (err error) {
	type frame struct {
		p    *planted
		next int // in p.nodes
	}
	stack := []frame{{p: p}}
	defer func() {
		for _, f := range stack {
			closeDir(&f.p.dir)
		}
	}()
	for len(stack) > 0 {
		f := &stack[len(stack)-1]
		for f.next < len(f.p.nodes) && f.p.nodes[f.next].meta.kind != kindDir {
			f.next++
		}
		if f.next == len(f.p.nodes) {
			if err := u.leaveOne(f.p); err != nil {
				return entryError(&f.p.dir, "", err)
			}
			stack = stack[:len(stack)-1]
			continue
		}
		sub := f.p.subs[f.p.nodes[f.next].name]
		sub.slot = f.next
		f.next++
		if sub.dst, err = openat(f.p.dst, sub.name, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
			return err
		}
		stack = append(stack, frame{p: sub})
	}
	return nil
}

func (u *unpacker) leaveOne(p *planted) error {
	sortNodes(p.nodes)
	if err := finish(p.dst, &p.node); err != nil {
		return err
	}
	u.hashDir(&p.dir, u.s)
	p.node.stamp = stampOf(p.nodes, u.s)
	if p.parent != nil {
		p.parent.nodes[p.slot] = p.node
		closeDir(&p.dir)
	}
	p.nodes, p.index, p.subs = nil, nil, nil
	return nil
}
