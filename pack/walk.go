package pack

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
)

// A visitor is what a walk does with a fileset. enter is called when d has been
// opened and before its entries are visited, visit for each entry that is not a
// directory, leave when all of d's entries have been left. Calls come from several
// goroutines, those for one directory in that order.
type visitor interface {
	enter(w *walk, d *dir) error
	visit(w *walk, d *dir, n *node, s *scratch) error
	leave(w *walk, d *dir) error
}

// A walk visits a fileset with a few workers. Tasks are taken last in, first out:
// the walk stays deep rather than wide, and few directories are open at once.
type walk struct {
	ctx      context.Context
	o        Options
	v        visitor
	match    *matcher
	hash     bool // make ids, not just stamps
	idOnly   bool // make nothing else
	keepDirs bool // collect Directory messages
	cache    *cacheWalk

	mu      sync.Mutex
	wake    sync.Cond
	tasks   []task
	busy    int // workers at a task
	workers int
	err     error // the first; ends the walk
	wg      sync.WaitGroup
	idle    atomic.Int32

	entries, bytes atomic.Int64
	reported       atomic.Int64
	reporting      sync.Mutex
	dirsMu         sync.Mutex
	dirs           []byte
	noClone        atomic.Bool
}

// done ends one of d's tasks, and leaves d and the directories above it as far as
// nothing of them is left to do.
func (w *walk) done(d *dir, s *scratch) error {
	for d != nil && d.pending.Add(-1) == 0 {
		if err := w.leave(d, s); err != nil {
			return entryError(d, "", err)
		}
		d = d.parent
	}
	return nil
}

func (w *walk) leave(d *dir, s *scratch) error {
	known := w.asKnown(d)
	if !known {
		if err := w.gather(d, s); err != nil {
			return err
		}
	}
	d.skip = d.maybe && len(d.nodes) == 0
	if d.refused != nil && !d.skip {
		return d.refused
	}
	if err := w.leaveOpen(d); err != nil {
		return err
	}
	if known {
		d.digest, d.rio = d.known.digest, d.known.rio
	} else if w.hash {
		w.hashDir(d, s)
	}
	w.cache.remember(d, known)
	if !w.idOnly {
		d.node.stamp = stampOf(d.nodes, s)
	}
	d.nodes, d.visits, d.subs = nil, nil, nil
	closeDir(d)
	w.progress(1, 0)
	return nil
}

// gather completes d.nodes: what is in d is all visited and left.
func (w *walk) gather(d *dir, s *scratch) error {
	if d.same {
		d.unfold()
		for _, i := range d.visits {
			if n := &d.nodes[i]; n.seen.mode == 0 && !n.skip { // not visited
				if err := w.fill(n, d.known.entry(i), s); err != nil {
					return err
				}
			}
		}
	}
	for i := range d.subs {
		d.nodes[d.subs[i].slot] = d.subs[i].node
	}
	if slices.ContainsFunc(d.nodes, func(n node) bool { return n.skip }) {
		d.nodes = slices.DeleteFunc(d.nodes, func(n node) bool { return n.skip })
	}
	return nil
}

// leaveOpen has the visitor leave d while d and its parent are open.
func (w *walk) leaveOpen(d *dir) error {
	for _, d := range []*dir{d.parent, d} {
		if err := w.hold(d); err != nil {
			return err
		}
		defer w.release(d)
	}
	return w.v.leave(w, d)
}

// hashDir gives d its digest, and its rio hash for Tar and Zip.
func (w *walk) hashDir(d *dir, s *scratch) {
	s.msg = directoryMessage(s.msg[:0], &d.meta, d.nodes)
	d.digest = hashMessage(s.msg)
	w.keep(s.msg)
	if w.o.rio() {
		name := d.name
		if d.parent == nil {
			name = "."
		}
		d.rio = rioDir(name, &d.meta, d.nodes, s)
	}
}

// progress counts entries and bytes, and reports them every so often.
func (w *walk) progress(entries, bytes int64) {
	e, b := w.entries.Add(entries), w.bytes.Add(bytes)
	if w.o.Progress == nil {
		return
	}
	// One unit is an entry or 64 KiB; a report every 256 units.
	const unit, every = 64 << 10, 256
	if at := e + b/unit; at-w.reported.Load() >= every && w.reporting.TryLock() {
		w.reported.Store(at)
		w.o.Progress(w.entries.Load(), w.bytes.Load())
		w.reporting.Unlock()
	}
}
