package archive

import (
	"io"
	"sync"
)

// maxWorkers bounds how many blocks are compressed at once: each takes a few MiB.
const maxWorkers = 8

// A blockWriter cuts what is written to it into blocks of one size, compresses each by
// itself, several at once, and writes them in order. Close must be called, also after
// an error.
type blockWriter struct {
	w      io.Writer
	encode func(block, dst []byte) []byte // appends to dst
	block  []byte
	size   int
	queue  chan chan []byte // blocks, in order, when they are compressed
	ended  chan struct{}
	mu     sync.Mutex
	err    error
}

// bufs are the buffers of all block writers: a zip archive needs one for each file.
var bufs sync.Pool // of *[]byte

func buffer(size int) []byte {
	if b, ok := bufs.Get().(*[]byte); ok && cap(*b) >= size {
		return (*b)[:0]
	}
	return make([]byte, 0, size)
}

func newBlockWriter(w io.Writer, size, workers int, encode func(block, dst []byte) []byte) *blockWriter {
	b := &blockWriter{w: w, encode: encode, size: size, queue: make(chan chan []byte, workers-1), ended: make(chan struct{})}
	go b.drain()
	return b
}

func (b *blockWriter) drain() {
	defer close(b.ended)
	for block := range b.queue {
		out := <-block
		if b.failed() != nil {
			continue
		}
		_, err := b.w.Write(out)
		b.mu.Lock()
		b.err = err
		b.mu.Unlock()
		bufs.Put(&out)
	}
}

func (b *blockWriter) failed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

func (b *blockWriter) Write(p []byte) (int, error) {
	if err := b.failed(); err != nil {
		return 0, err
	}
	written := len(p)
	for len(p) > 0 {
		if b.block == nil {
			b.block = buffer(b.size)
		}
		n := min(len(p), b.size-len(b.block))
		b.block = append(b.block, p[:n]...)
		p = p[n:]
		if len(b.block) == b.size {
			b.send()
		}
	}
	return written, nil
}

// send has the block compressed, and waits if too many are.
func (b *blockWriter) send() {
	in, out := b.block, make(chan []byte, 1)
	b.block = nil
	b.queue <- out
	go func() {
		out <- b.encode(in, buffer(b.size))
		bufs.Put(&in)
	}()
}

func (b *blockWriter) Close() error {
	if len(b.block) > 0 {
		b.send()
	}
	close(b.queue)
	<-b.ended
	return b.err
}
