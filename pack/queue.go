package pack

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
	if err := w.visits(t, s); err != nil {
		return err
	}
	return w.done(t.d, s)
}

// visits visits the entries of a task, or offers some of them to others.
func (w *walk) visits(t task, s *scratch) error {
	if err := w.hold(t.d); err != nil {
		return err
	}
	defer w.release(t.d)
	var bytes int64
	var same tally
	defer w.took(&same)
	for i := t.from; i < t.to; i++ {
		slot := t.d.visits[i]
		if t.d.same {
			if e := t.d.known.entry(slot); same.add(t.d.fd, &e.name[0], &e, s) {
				continue
			}
			t.d.unfold()
		}
		n := &t.d.nodes[slot]
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
	return nil
}

func (w *walk) idleWorkers() bool {
	if w.idle.Load() > 0 {
		return true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.workers < w.o.jobs() && len(w.tasks) == 0
}
