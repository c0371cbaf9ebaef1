package pack

import (
	"encoding/binary"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// list opens d, reads its entries and makes tasks of them.
func (w *walk) list(d *dir, s *scratch) error {
	w.cache.open(d)
	if d.parent != nil {
		err := w.hold(d.parent)
		if err != nil {
			return err
		}
		defer w.release(d.parent)
		if w.glance(d, s) {
			return nil
		}
		if d.fd, err = openat(d.parent.fd, d.name, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
			return entryError(d, "", changed(err))
		}
		d.holders = 1
		defer w.release(d)
	}
	err := fstat(d.fd, &d.st)
	if err == nil {
		d.meta, err = metaOf(&d.st)
	}
	if err == nil && w.hash {
		if err = w.o.Filters.apply(&d.meta, true); d.maybe {
			d.refused, err = err, nil
		}
	}
	if err == nil {
		err = w.v.enter(w, d)
	}
	if err == nil {
		err = w.names(d, s)
	}
	if err != nil {
		return entryError(d, "", err)
	}
	return w.share(d)
}

// names finds out what is in d.
func (w *walk) names(d *dir, s *scratch) error {
	if d.same = w.unlisted(d); d.same {
		return nil
	}
	if err := w.readDir(d, s); err != nil || d.known == nil {
		return err
	}
	d.known.match(d.nodes)
	if d.same = w.alike(d) && d.known.has(d.nodes); d.same {
		d.nodes = nil
	}
	return nil
}

// share makes tasks of d's entries, files last so that they are taken first.
func (w *walk) share(d *dir) error {
	var room [8]task
	tasks := room[:0]
	if d.same {
		d.below()
	} else {
		d.divide()
	}
	for i := range slices.Backward(d.subs) {
		sub := &d.subs[i]
		sub.parent, sub.depth, sub.fd, sub.dst = d, d.depth+1, -1, -1
		sub.pending.Store(1)
		if w.match != nil {
			sub.rel = join(d.rel, sub.name)
		}
		tasks = append(tasks, task{d: sub, from: -1})
	}
	for i := 0; i < len(d.visits); i += batch {
		tasks = append(tasks, task{d, i, min(i+batch, len(d.visits))})
	}
	d.pending.Add(int32(len(tasks)))
	if len(tasks) > 0 {
		w.push(tasks...)
	}
	return nil
}

// divide tells the directories among d's entries from what is to be visited.
func (d *dir) divide() {
	dirs := 0
	for i := range d.nodes {
		if d.nodes[i].meta.kind == KindDir {
			dirs++
		}
	}
	d.subs, d.visits = make([]dir, 0, dirs), make([]int32, 0, len(d.nodes)-dirs)
	for i := range d.nodes {
		if d.nodes[i].meta.kind != KindDir {
			d.visits = append(d.visits, int32(i))
			continue
		}
		d.subs = d.subs[:len(d.subs)+1]
		sub := &d.subs[len(d.subs)-1]
		sub.node, sub.slot, sub.unread = d.nodes[i], i, d.known.sub(&d.nodes[i])
	}
}

// readDir fills in d.nodes: names and kinds, no more.
func (w *walk) readDir(d *dir, s *scratch) error {
	s.listed = s.listed[:0]
	for {
		n, err := getdents(d.fd, s.dents[:])
		if err != nil {
			return changed(err)
		}
		if n == 0 {
			break
		}
		if err := w.parseDir(d, s.dents[:n], s); err != nil {
			return err
		}
	}
	slices.SortFunc(s.listed, func(a, b listed) int { return strings.Compare(a.name, b.name) })
	d.nodes = make([]node, len(s.listed))
	for i, l := range s.listed {
		n := &d.nodes[i]
		n.name, n.meta.kind, n.maybe = l.name, l.kind, l.maybe
	}
	clear(s.listed)
	return nil
}

// listed is what listing a directory tells of an entry.
type listed struct {
	name  string
	kind  Kind
	maybe bool
}

// parseDir reads the entries in a buffer of getdents(2), leaving out "." and "..",
// and what the walk's patterns leave out.
func (w *walk) parseDir(d *dir, buf []byte, s *scratch) error {
	all := string(buf) // one string for all names: they are parts of it
	for at := 0; at < len(buf); {
		size := int(binary.NativeEndian.Uint16(buf[at+16:])) // d_reclen
		typ := buf[at+18]                                    // d_type
		name, _, _ := strings.Cut(all[at+19:at+size], "\x00")
		at += size
		if name == "." || name == ".." {
			continue
		}
		kind, err := kindAt(d.fd, name, typ)
		if err != nil {
			return entryError(d, name, err)
		}
		l := listed{name: name, kind: kind}
		if w.match != nil {
			take, maybe := w.match.take(join(d.rel, name), kind == KindDir, !d.maybe)
			if !take {
				continue
			}
			l.maybe = maybe
		}
		s.listed = append(s.listed, l)
	}
	return nil
}
