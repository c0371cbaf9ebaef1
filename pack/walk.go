package pack

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A node is one entry of a directory while its fileset is walked.
type node struct {
	name    string
	meta    meta
	digest  digest    // of a file's content, of a directory's message
	content *[48]byte // Tar: SHA-384 of a file's content
	rio     *[48]byte // Tar: the node's rio hash
	seen    seen      // what a stamp covers
	stamp   [sha256.Size]byte
	sub     *dir // a directory's, until it has been left
	skip    bool // it is no part of the ware
	maybe   bool // a directory that counts only if something in it does
}

// A dir is a directory between being listed and being left. It holds its
// descriptors open in between: everything below is reached from them, never by path.
type dir struct {
	node
	parent  *dir
	slot    int    // in parent.nodes
	rel     string // path from the root, only where a walk needs it
	fd      int
	dst     int  // the copy, if one is made
	single  bool // the fileset is one file in it
	st      unix.Stat_t
	nodes   []node  // sorted by name
	visits  []int32 // indexes in nodes of what is not a directory
	pending atomic.Int32
}

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
	keepDirs bool // collect Directory messages
	needRel  bool // fill in dir.rel
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

// A task is to list a directory (from < 0) or to visit some of dir.visits.
type task struct {
	d        *dir
	from, to int
}

// batch is how many entries make a task: few enough to share out, enough that
// sharing costs nothing.
const batch = 64

// bigTask is after how many bytes a worker offers the rest of its task to others.
const bigTask = 1 << 20

// run walks the directory root, whose descriptor is open, and leaves it.
func (w *walk) run(root *dir) error {
	w.wake.L = &w.mu
	w.workers = 1
	root.pending.Store(1)
	w.push(task{d: root, from: -1})
	w.work()
	w.wg.Wait()
	if w.err != nil {
		closeAll(root)
	}
	return w.err
}

func (w *walk) push(t ...task) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tasks = append(w.tasks, t...)
	for n := len(w.tasks) - 1; n > 0 && w.workers < w.o.jobs(); n-- {
		w.workers++
		w.wg.Go(w.work)
	}
	if len(t) > 1 {
		w.wake.Broadcast()
	} else {
		w.wake.Signal()
	}
}

func (w *walk) work() {
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	for did := false; ; did = true {
		t, ok := w.next(did)
		if !ok {
			return
		}
		if err := w.do(t, s); err != nil {
			w.fail(err)
		}
	}
}

// next waits for a task; did says that the worker has just done one.
func (w *walk) next(did bool) (task, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if did {
		w.busy--
	}
	for len(w.tasks) == 0 && w.busy > 0 && w.err == nil {
		w.idle.Add(1)
		w.wake.Wait()
		w.idle.Add(-1)
	}
	if len(w.tasks) == 0 || w.err != nil {
		w.wake.Broadcast()
		return task{}, false
	}
	t := w.tasks[len(w.tasks)-1]
	w.tasks = w.tasks[:len(w.tasks)-1]
	w.busy++
	return t, true
}

func (w *walk) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	w.wake.Broadcast()
}

func (w *walk) do(t task, s *scratch) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if t.from < 0 {
		if err := w.list(t.d, s); err != nil {
			return err
		}
		return w.done(t.d, s)
	}
	var bytes int64
	for i := t.from; i < t.to; i++ {
		n := &t.d.nodes[t.d.visits[i]]
		if bytes >= bigTask && t.to-i > 1 && w.idleWorkers() {
			half := i + (t.to-i+1)/2
			t.d.pending.Add(1)
			w.push(task{t.d, half, t.to})
			t.to = half
		}
		err := w.v.visit(w, t.d, n, s)
		if err == errSkip {
			n.skip = true
			continue
		}
		if err != nil {
			return entryError(t.d, n.name, err)
		}
		bytes += n.seen.size
		w.progress(1, 0)
	}
	return w.done(t.d, s)
}

func (w *walk) idleWorkers() bool {
	if w.idle.Load() > 0 {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.workers < w.o.jobs() && len(w.tasks) == 0
}

// list opens d, reads its entries and makes tasks of them.
func (w *walk) list(d *dir, s *scratch) error {
	if d.parent != nil {
		var err error
		if d.fd, err = openat(d.parent.fd, d.name, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
			return entryError(d, "", changed(err))
		}
	}
	err := fstat(d.fd, &d.st)
	if err == nil {
		d.meta, err = metaOf(&d.st)
	}
	if err == nil && w.hash {
		err = w.o.Filters.apply(&d.meta, true)
	}
	if err == nil {
		err = w.v.enter(w, d)
	}
	if err == nil {
		err = w.readDir(d, s)
	}
	if err != nil {
		return entryError(d, "", err)
	}
	return w.share(d)
}

// share makes tasks of d's entries, files last so that they are taken first.
func (w *walk) share(d *dir) error {
	var room [8]task
	tasks := room[:0]
	for i := range d.nodes {
		n := &d.nodes[i]
		if n.meta.kind != kindDir {
			d.visits = append(d.visits, int32(i))
			continue
		}
		sub := &dir{node: *n, parent: d, slot: i, fd: -1, dst: -1}
		sub.pending.Store(1)
		n.sub = sub
		if w.needRel {
			sub.rel = join(d.rel, n.name)
		}
		tasks = append(tasks, task{d: sub, from: -1})
	}
	slices.Reverse(tasks)
	for i := 0; i < len(d.visits); i += batch {
		tasks = append(tasks, task{d, i, min(i+batch, len(d.visits))})
	}
	d.pending.Add(int32(len(tasks)))
	if len(tasks) > 0 {
		w.push(tasks...)
	}
	return nil
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
	kind  kind
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
			take, maybe := w.match.take(join(d.rel, name), kind == kindDir, !d.maybe)
			if !take {
				continue
			}
			l.maybe = maybe
		}
		s.listed = append(s.listed, l)
	}
	return nil
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
	if slices.ContainsFunc(d.nodes, func(n node) bool { return n.skip }) {
		d.nodes = slices.DeleteFunc(d.nodes, func(n node) bool { return n.skip })
	}
	d.skip = d.maybe && len(d.nodes) == 0
	if err := w.v.leave(w, d); err != nil {
		return err
	}
	if w.hash {
		w.hashDir(d, s)
	}
	d.node.stamp = stampOf(d.nodes, s)
	d.nodes = nil
	closeDir(d)
	if d.parent != nil {
		n := &d.parent.nodes[d.slot]
		*n = d.node
		n.sub = nil
	}
	w.progress(1, 0)
	return nil
}

// hashDir gives d its digest, and its rio hash for Tar.
func (w *walk) hashDir(d *dir, s *scratch) {
	s.msg = directoryMessage(s.msg[:0], &d.meta, d.nodes)
	d.digest = hashMessage(s.msg)
	w.keep(s.msg)
	if w.o.Packtype == Tar {
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

// closeDir closes what is open of d.
func closeDir(d *dir) {
	if d.fd >= 0 {
		unix.Close(d.fd)
	}
	if d.dst >= 0 {
		unix.Close(d.dst)
	}
	d.fd, d.dst = -1, -1
}

func closeAll(root *dir) {
	for queue := []*dir{root}; len(queue) > 0; {
		d := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		closeDir(d)
		for i := range d.nodes {
			if sub := d.nodes[i].sub; sub != nil {
				queue = append(queue, sub)
			}
		}
	}
}

func sortNodes(nodes []node) {
	slices.SortFunc(nodes, func(a, b node) int { return strings.Compare(a.name, b.name) })
}

// path returns the path of d from the root, "" for the root.
func (d *dir) path() string {
	if d.parent == nil {
		return ""
	}
	var names []string
	for ; d.parent != nil; d = d.parent {
		names = append(names, d.name)
	}
	slices.Reverse(names)
	return strings.Join(names, "/")
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

func entryError(d *dir, name string, err error) error {
	var known *EntryError
	if errors.As(err, &known) {
		return err
	}
	path := join(d.path(), name)
	if name == "" {
		path = d.path()
	}
	if path == "" {
		path = "."
	}
	return &EntryError{path, err}
}

// changed marks an error that means that an entry listed a moment ago is no longer
// what it was.
func changed(err error) error {
	switch err {
	case unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.ENXIO:
		return fmt.Errorf("%w: %w", ErrChanged, err)
	}
	return err
}
