package packed

import (
	"io"
	"sync"
)

// Incoming is an object on its way. Reading it waits for what has not come yet. One
// goroutine uses it.
type Incoming struct {
	p    *partial
	at   int64 // where Read reads
	mu   sync.Mutex
	more *sync.Cond // have or ended has changed
	have int64      // bytes that can be read

	ended bool
	err   error // why no more comes; nil: all is there
}

func newIncoming(p *partial) *Incoming {
	in := &Incoming{p: p, have: p.have}
	in.more = sync.NewCond(&in.mu)
	return in
}

// Read reads what has come, or waits. It ends with io.EOF when it has read all, and
// with the error of fetching when no more will come.
func (in *Incoming) Read(b []byte) (int, error) {
	in.mu.Lock()
	for in.at == in.have && !in.ended {
		in.more.Wait()
	}
	left, err := in.have-in.at, in.err
	in.mu.Unlock()
	if err != nil { // at once: the rest would be of no use
		return 0, err
	}
	if left == 0 {
		return 0, io.EOF
	}
	n, err := in.p.file.ReadAt(b[:min(int64(len(b)), left)], in.at)
	in.at += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

// Whole waits until all has come, and returns it. It is of use as long as in is.
func (in *Incoming) Whole() (*io.SectionReader, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for !in.ended {
		in.more.Wait()
	}
	return io.NewSectionReader(in.p.file, 0, in.have), in.err
}

// Path returns the path of the file that is being written.
func (in *Incoming) Path() string { return in.p.path }

func (in *Incoming) advance(have int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.have = have
	in.more.Broadcast()
}

func (in *Incoming) end(err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.ended, in.err = true, err
	in.more.Broadcast()
}

// failed returns why fetching has failed, if it has.
func (in *Incoming) failed() error {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.err
}
