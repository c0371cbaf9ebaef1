package pack

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// A planted directory is one the Builder has made.
type planted struct {
	dir
	handle   *handle        // of dst, while the Builder has it open
	index    map[string]int // in nodes, by name
	subs     map[string]*planted
	explicit bool // the archive has an entry for it
}

// newPlanted makes a directory of which the archive has not told anything.
func (b *Builder) newPlanted(parent *planted, name string) *planted {
	p := &planted{index: map[string]int{}, subs: map[string]*planted{}}
	p.name, p.fd, p.dst = name, -1, -1
	p.meta = meta{kind: KindDir, mode: 0o755, sec: defaultTime}
	_ = b.o.Filters.apply(&p.meta, true) // rejects no plain directory
	if parent != nil {
		p.parent = &parent.dir
	}
	return p
}

// has reports whether the directory at path has been made.
func (b *Builder) has(path []string) bool {
	at := b.root
	for _, name := range path {
		if at = at.subs[name]; at == nil {
			return false
		}
	}
	return true
}

// directory makes the directory at path, or gives the one already made for what
// it holds its metadata.
func (b *Builder) directory(path []string, m meta) error {
	if b.o.Replace && len(path) > 0 && !b.has(path) {
		if err := b.take(path); err != nil {
			return err
		}
	}
	p, err := b.reach(path)
	if err != nil {
		return err
	}
	if p.explicit && p.meta != m && !b.o.Replace {
		return errors.New("the archive has it twice, and not the same")
	}
	p.meta, p.explicit = m, true
	return nil
}

// place returns the directory for the entry at path, which must be new in it.
func (b *Builder) place(path []string) (*planted, string, error) {
	if len(path) == 0 {
		return nil, "", errors.New("the root of a fileset can only be a directory")
	}
	parent, err := b.reach(path[:len(path)-1])
	if err != nil {
		return nil, "", err
	}
	name := path[len(path)-1]
	if _, twice := parent.index[name]; twice && b.o.Replace {
		return parent, name, b.remove(parent, name)
	} else if twice {
		return nil, "", errors.New("the archive has something at its path already")
	}
	return parent, name, nil
}

// placeRoot returns where the file lies that the ware is, if it has nothing else.
func (b *Builder) placeRoot() (*planted, string, error) {
	if b.root.explicit || len(b.root.nodes) > 0 || b.o.Replace {
		return nil, "", errors.New("the root of a fileset with other entries can only be a directory")
	}
	b.root.single = true
	return b.root, "file", nil
}

// reach makes the directory at path the one that is open, creating it and its
// parents as needed.
func (b *Builder) reach(path []string) (*planted, error) {
	same := 0
	for same < len(path) && same+1 < len(b.open) && b.open[same+1].name == path[same] {
		same++
	}
	b.closeBeyond(same + 1)
	if err := b.reopen(); err != nil {
		return nil, err
	}
	for i, name := range path[same:] {
		at := b.open[len(b.open)-1]
		sub := at.subs[name]
		if sub == nil {
			if j, is := at.index[name]; is {
				return nil, fmt.Errorf("its path leads through %q, which is no directory but %s",
					strings.Join(path[:same+i+1], "/"), kindName(at.nodes[j].meta.kind))
			}
			if err := unix.Mkdirat(at.dst, name, 0o700); err != nil {
				return nil, fmt.Errorf("create directory: %w", err)
			}
			if sub = b.newPlanted(at, name); b.entries.Add(1) > b.o.MaxEntries {
				return nil, b.tooMany()
			}
			if len(b.later) > 0 {
				if m, is := b.later[strings.Join(path[:same+i+1], "/")]; is {
					sub.meta, sub.explicit = m, true
				}
			}
			at.subs[name] = sub
			at.add(node{name: name, meta: meta{kind: KindDir}})
		}
		if err := b.openPlanted(sub, at.dst, name); err != nil {
			return nil, err
		}
	}
	return b.open[len(b.open)-1], nil
}

func kindName(k Kind) string {
	return map[Kind]string{
		KindFile: "a file", KindDir: "a directory", KindSymlink: "a symlink", KindFifo: "a named pipe", KindBlock: "a device", KindChar: "a device",
	}[k]
}

// openPlanted opens a directory below the one that is open.
func (b *Builder) openPlanted(p *planted, at int, name string) error {
	fd, err := openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	p.dst, p.handle = fd, newHandle(fd)
	if last := len(b.open) - 1; last > 0 && !stays(last) {
		b.open[last].close()
	}
	b.open = append(b.open, p)
	return nil
}

// close closes p for the Builder. The crew may go on writing to it.
func (p *planted) close() {
	if p.handle != nil {
		p.handle.drop()
		p.dst, p.handle = -1, nil
	}
}

// closeBeyond closes all but the first n open directories.
func (b *Builder) closeBeyond(n int) {
	for _, p := range b.open[n:] {
		p.close()
	}
	b.open = b.open[:n]
}

// reopen opens the last of b.open again if it is deep enough to have been closed
// meanwhile (hold.go).
func (b *Builder) reopen() error {
	n := len(b.open)
	for b.open[n-1].handle == nil {
		n--
	}
	closed := b.open[n:]
	b.open = b.open[:n:n]
	for _, p := range closed {
		if err := b.openPlanted(p, b.open[len(b.open)-1].dst, p.name); err != nil {
			return err
		}
	}
	return nil
}

func (p *planted) add(n node) {
	p.index[n.name] = len(p.nodes)
	p.nodes = append(p.nodes, n)
}

// leaveAll gives all directories their metadata and hashes, from the deepest up.
func (b *Builder) leaveAll(p *planted) (err error) {
	stack := []frame{{p: p}}
	defer func() {
		for _, f := range stack {
			closeDir(&f.p.dir)
		}
	}()
	for len(stack) > 0 {
		f := &stack[len(stack)-1]
		for f.next < len(f.p.nodes) && f.p.nodes[f.next].meta.kind != KindDir {
			f.next++
		}
		if f.next == len(f.p.nodes) {
			if err := b.leaveOne(f.p); err != nil {
				return entryError(&f.p.dir, "", err)
			}
			stack = stack[:len(stack)-1]
			if err := openAbove(stack); err != nil {
				return err
			}
			continue
		}
		sub := f.p.subs[f.p.nodes[f.next].name]
		sub.slot = f.next
		f.next++
		if sub.dst, err = openat(f.p.dst, sub.name, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
			return err
		}
		if !stays(len(stack) - 1) {
			closeDir(&f.p.dir)
		}
		stack = append(stack, frame{p: sub})
	}
	return nil
}

// A frame is a directory of which some entries have been left.
type frame struct {
	p    *planted
	next int // in p.nodes
}

// openAbove opens the last directory of stack again if it has been closed meanwhile.
func openAbove(stack []frame) error {
	n := len(stack)
	for n > 0 && stack[n-1].p.dst < 0 {
		n--
	}
	for ; n > 0 && n < len(stack); n++ {
		var err error
		if stack[n].p.dst, err = openat(stack[n-1].p.dst, stack[n].p.name, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
			return err
		}
		if !stays(n - 1) {
			closeDir(&stack[n-1].p.dir)
		}
	}
	return nil
}

// leaveFile gives the directory of a ware that is one file its metadata and hashes.
func (b *Builder) leaveFile(p *planted) error {
	b.hashFileRoot(&p.dir, b.s)
	err := finish(p.dst, &p.node)
	p.stamp = stampOf(p.nodes, b.s)
	return err
}

func (b *Builder) leaveOne(p *planted) error {
	sortNodes(p.nodes)
	if err := finish(p.dst, &p.node); err != nil {
		return err
	}
	b.hashDir(&p.dir, b.s)
	p.node.stamp = stampOf(p.nodes, b.s)
	if p.parent != nil {
		p.parent.nodes[p.slot] = p.node
		closeDir(&p.dir)
	}
	p.nodes, p.index, p.subs = nil, nil, nil
	return nil
}
