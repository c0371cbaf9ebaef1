package serve

import (
	"errors"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/warehouse/serve/keep"
)

// uploads are those that ended early. Who asks how far one got, and goes on, need not
// begin anew. They take room, and go first when there is none.
type uploads struct {
	mu       sync.Mutex
	by       map[string]*unfinished // by resource
	underway map[string]*arriving   // likewise
}

// An arriving upload has a client, as far as is known.
type arriving struct {
	interrupt func()        // ends it early
	over      chan struct{} // closed when it has ended
}

type unfinished struct {
	*keep.Writer
	timer *time.Timer
}

const (
	maxUploads  = 64               // that are kept
	uploadsKept = 10 * time.Minute // how long each is
)

// begin begins an upload at offset, or goes on with one that ended early: then w is not
// nil. Who begins at 0 goes on with nothing, and two may do so at once. The caller calls
// over when it has ended, and has put what is to be kept.
func (u *uploads) begin(resource string, offset int64, interrupt func()) (w *keep.Writer, over func()) {
	if offset > 0 {
		u.interrupt(resource)
	}
	a := &arriving{interrupt, make(chan struct{})}
	u.mu.Lock()
	if u.underway == nil {
		u.underway = map[string]*arriving{}
	}
	u.underway[resource] = a
	u.mu.Unlock()
	return u.take(resource), func() {
		u.mu.Lock()
		if u.underway[resource] == a {
			delete(u.underway, resource)
		}
		u.mu.Unlock()
		close(a.over)
	}
}

// interrupt ends an upload that is under way: its client has come again, by another
// connection, before this side has noticed that the first one is dead.
func (u *uploads) interrupt(resource string) {
	u.mu.Lock()
	a := u.underway[resource]
	if a != nil {
		a.interrupt()
	}
	u.mu.Unlock()
	if a != nil {
		<-a.over
	}
}

// put keeps an upload that ended early.
func (u *uploads) put(resource string, w *keep.Writer) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, there := u.by[resource]; there || len(u.by) >= maxUploads || w.Written() == 0 {
		w.Abort()
		return
	}
	if u.by == nil {
		u.by = map[string]*unfinished{}
	}
	u.by[resource] = &unfinished{w, time.AfterFunc(uploadsKept, func() {
		if w := u.take(resource); w != nil {
			w.Abort()
		}
	})}
}

// take returns an upload that ended early, nil if there is none, and forgets it.
func (u *uploads) take(resource string) *keep.Writer {
	u.mu.Lock()
	defer u.mu.Unlock()
	up := u.by[resource]
	if up == nil {
		return nil
	}
	up.timer.Stop()
	delete(u.by, resource)
	return up.Writer
}

// written returns how far an upload got.
func (u *uploads) written(resource string) int64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	if up := u.by[resource]; up != nil {
		return up.Written()
	}
	return 0
}

// drop gives all up, and reports whether there were any.
func (u *uploads) drop() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	dropped := len(u.by) > 0
	for _, up := range u.by {
		up.timer.Stop()
		up.Abort()
	}
	clear(u.by)
	return dropped
}

// retry does something again that found no room, when there is more.
func (s *Server) retry(f func() error) error {
	err := f()
	if errors.Is(err, keep.ErrFull) && s.uploads.drop() {
		err = f()
	}
	return err
}

// create begins an object.
func (s *Server) create(size int64) (w *keep.Writer, err error) {
	err = s.retry(func() (err error) {
		w, err = s.store.Create(size)
		return err
	})
	return w, err
}
