package packed

import (
	"io"
	"os"
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

	kind  string
	whole bool // nothing is read before all has come
	used  bool // something was read
	ended bool
	err   error // why no more comes; nil: all is there
}

func newIncoming(p *partial, whole bool) *Incoming {
	in := &Incoming{p: p, have: p.have, whole: whole}
	in.more = sync.NewCond(&in.mu)
	return in
}

// Read reads what has come, or waits. It ends with io.EOF when it has read all, and
// with the error of fetching when no more will come.
func (in *Incoming) Read(b []byte) (int, error) {
	in.mu.Lock()
	for !in.ended && (in.whole || in.at == in.have) {
		in.more.Wait()
	}
	left, err := in.have-in.at, in.err
	in.used = true
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

// Whole waits until all has come, and returns the file it is in, at its beginning. It is
// open as long as in is of use, and may be renamed.
func (in *Incoming) Whole() (*os.File, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for !in.ended {
		in.more.Wait()
	}
	if in.err != nil {
		return nil, in.err
	}
	_, err := in.p.file.Seek(0, io.SeekStart)
	return in.p.file, err
}

// Type returns the media type that a server gave the object; "" if none did.
func (in *Incoming) Type() string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.kind
}

func (in *Incoming) setType(kind string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.kind = kind
}

// Leave leaves a note, of a kilobyte at most, for those who wait while this one fetches:
// their Have gets it, unless using the object ends in an error.
func (in *Incoming) Leave(note string) { in.p.note = note }

func (in *Incoming) advance(have int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.have = have
	in.more.Broadcast()
}

// rewind takes back what has come, unless it was used already.
func (in *Incoming) rewind() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.used {
		in.have = 0
	}
	return !in.used
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
