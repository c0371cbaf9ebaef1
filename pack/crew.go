package pack

import (
	"crypto/sha256"
	"crypto/sha512"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// How a Builder shares out its work: few enough bytes on their way that memory stays
// small, enough files in a lot that handing it over costs nothing beside writing them.
const (
	lotBytes  = 1 << 20
	lotFiles  = 32
	smallFile = lotBytes / 4 // larger ones are streamed
	maxCrew   = 8            // workers; more wait for the disk, not for each other
)

// A crew writes and hashes small files for a Builder, several at a time. The
// Builder reads their content into a lot, a worker writes the lot and hands it back, and
// the Builder takes over what the worker found out: nodes and directories belong
// to the Builder's goroutine alone.
type crew struct {
	w       *walk
	now     *lot   // being filled
	free    []*lot // handed back
	made    int    // lots that there are
	out     int    // lots with the workers
	workers int
	work    chan *lot
	done    chan *lot
	wg      sync.WaitGroup
	sent    int
	err     error // of the first entry, in the archive's order, that could not be written
	errLot  int   // the lot it was in
}

// A lot is some files and their content, one behind the other.
type lot struct {
	number int // in the order they were sent
	buf    []byte
	files  []lotFile
	err    error // of the file it ended at
}

type lotFile struct {
	in       *handle
	to       *planted
	slot     int    // in to.nodes
	node     node   // a copy, to which the worker adds what it finds out
	path     string // in the archive
	from, at int    // in buf
}

// A handle is a descriptor of a directory that is closed when nobody uses it any more.
type handle struct {
	fd   int
	uses atomic.Int32
}

func newHandle(fd int) *handle {
	h := &handle{fd: fd}
	h.uses.Store(1)
	return h
}

func (h *handle) drop() {
	if h.uses.Add(-1) == 0 {
		unix.Close(h.fd)
	}
}

var lotPool = sync.Pool{New: func() any { return &lot{buf: make([]byte, 0, lotBytes)} }}

// crewSize is how many workers a crew has at most.
func (w *walk) crewSize() int { return min(w.o.jobs(), maxCrew) }

// begin makes room for a file of size bytes in the present lot.
func (c *crew) begin(size int64) error {
	if c.now != nil && (len(c.now.files) == lotFiles || int64(cap(c.now.buf)-len(c.now.buf)) < size) {
		if err := c.send(); err != nil {
			return err
		}
	}
	if c.now != nil {
		return nil
	}
	if len(c.free) == 0 && c.made == 2*c.w.crewSize()+1 {
		if err := c.receive(); err != nil {
			return err
		}
	}
	if n := len(c.free); n > 0 {
		c.now, c.free = c.free[n-1], c.free[:n-1]
		return nil
	}
	c.now = lotPool.Get().(*lot)
	c.made++
	return nil
}

// add takes a file: its content is read here, and written later.
func (c *crew) add(f lotFile, size int64, content io.Reader) error {
	if err := c.begin(size); err != nil {
		return err
	}
	l := c.now
	f.from, f.at = len(l.buf), len(l.buf)+int(size)
	if _, err := io.ReadFull(content, l.buf[f.from:f.at]); err != nil {
		return err
	}
	l.buf = l.buf[:f.at]
	f.in.uses.Add(1)
	l.files = append(l.files, f)
	return nil
}

// send gives the present lot to a worker, of which there may have to be one more.
func (c *crew) send() error {
	if c.work == nil {
		c.work, c.done = make(chan *lot, 2*maxCrew+1), make(chan *lot, 2*maxCrew+1)
	}
	if c.workers < c.w.crewSize() && c.workers <= c.out {
		c.workers++
		c.wg.Go(c.serve)
	}
	c.now.number = c.sent
	c.sent++
	c.out++
	c.work <- c.now
	c.now = nil
	for len(c.done) > 0 {
		if err := c.receive(); err != nil {
			return err
		}
	}
	return c.err
}

// receive waits for a lot to come back and enters what is in it.
func (c *crew) receive() error {
	l := <-c.done
	c.out--
	c.enter(l)
	return c.err
}

// enter takes over what a worker has found out.
func (c *crew) enter(l *lot) {
	for i := range l.files {
		f := &l.files[i]
		f.to.nodes[f.slot] = f.node
	}
	if l.err != nil && (c.err == nil || l.number < c.errLot) {
		c.err, c.errLot = l.err, l.number
	}
	l.reset()
	c.free = append(c.free, l)
}

func (l *lot) reset() {
	clear(l.files)
	l.buf, l.files, l.err = l.buf[:0], l.files[:0], nil
}

// drain has everything written that was added. What was added last the caller
// writes itself: for a fileset of a few files there are no workers.
func (c *crew) drain() error {
	if c.now != nil && len(c.now.files) > 0 {
		s := scratchPool.Get().(*scratch)
		c.now.number = c.sent
		c.now.write(c.w, s)
		scratchPool.Put(s)
	}
	for c.out > 0 {
		_ = c.receive()
	}
	if c.now != nil {
		c.enter(c.now)
		c.now = nil
	}
	return c.err
}

// close ends the workers. What was not drained is lost.
func (c *crew) close() {
	if c.work != nil {
		close(c.work)
		c.wg.Wait()
		close(c.done)
		for l := range c.done {
			c.free = append(c.free, l)
		}
		c.work, c.done, c.out = nil, nil, 0
	}
	if c.now != nil {
		for i := range c.now.files {
			c.now.files[i].in.drop()
		}
		c.free = append(c.free, c.now)
		c.now = nil
	}
	for _, l := range c.free {
		l.reset()
		lotPool.Put(l)
	}
	c.free = nil
}

func (c *crew) serve() {
	s := scratchPool.Get().(*scratch)
	defer scratchPool.Put(s)
	for l := range c.work {
		l.write(c.w, s)
		c.done <- l
	}
}

// write writes and hashes the files of l, up to the first that cannot be.
func (l *lot) write(w *walk, s *scratch) {
	for i := range l.files {
		f := &l.files[i]
		if l.err == nil {
			if l.err = w.ctx.Err(); l.err == nil {
				l.err = f.write(l.buf[f.from:f.at], w, s)
			}
			if l.err != nil {
				l.err = &EntryError{f.path, l.err}
			}
		}
		f.in.drop()
	}
}

func (f *lotFile) write(content []byte, w *walk, s *scratch) error {
	n := &f.node
	fd, err := createFile(f.in.fd, n)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := writeAll(fd, content); err != nil {
		return err
	}
	n.digest = digest{sha256.Sum256(content), int64(len(content))}
	if w.o.rio() {
		sum := sha512.Sum384(content)
		n.rio = rioFile(n, &sum, s)
		if f.to.single {
			n.content = &sum
		}
	}
	return finish(fd, n)
}
