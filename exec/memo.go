package exec

import (
	"fmt"
	"sync"

	"github.com/kilnbuild/kiln/warehouse"
)

// A memoWriter writes memos behind the run's back. A memo must not be there after
// a crash without the wares it names, so each batch waits until the file system
// has written what came before: one flush serves all that gathered meanwhile, and
// no step waits for one.
type memoWriter struct {
	local *warehouse.Local
	memos *warehouse.Memos
	tell  func(Made) // may be nil
	mu    sync.Mutex
	queue []Made
	wake  chan struct{}
	ended chan struct{}
	err   error
}

func newMemoWriter(local *warehouse.Local, memos *warehouse.Memos, tell func(Made)) *memoWriter {
	return &memoWriter{local: local, memos: memos, tell: tell}
}

func (w *memoWriter) put(m Made) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = append(w.queue, m)
	if w.wake == nil {
		w.wake, w.ended = make(chan struct{}, 1), make(chan struct{})
		go w.write(w.wake, w.ended)
	}
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *memoWriter) write(wake <-chan struct{}, ended chan<- struct{}) {
	defer close(ended)
	for range wake {
		w.mu.Lock()
		batch := w.queue
		w.queue = nil
		w.mu.Unlock()
		if len(batch) > 0 && w.err == nil {
			w.err = w.writeBatch(batch)
		}
	}
}

func (w *memoWriter) writeBatch(batch []Made) error {
	if err := w.local.Sync(); err != nil {
		return fmt.Errorf("flush warehouse: %w", err)
	}
	for _, m := range batch {
		if err := w.memos.Put(m.Memo); err != nil {
			return fmt.Errorf("remember %s: %w", m.Memo.Step, err)
		}
		if w.tell != nil {
			w.tell(m)
		}
	}
	return nil
}

// close writes what is left and returns the first error there was.
func (w *memoWriter) close() error {
	w.mu.Lock()
	wake, ended := w.wake, w.ended
	w.mu.Unlock()
	if wake == nil {
		return nil
	}
	close(wake)
	<-ended
	if w.err == nil && len(w.queue) > 0 {
		w.err = w.writeBatch(w.queue)
	}
	return w.err
}
