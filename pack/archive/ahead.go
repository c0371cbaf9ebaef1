package archive

import (
	"io"
	"sync"
)

// aheadChunk is how many bytes are handed over at once.
const aheadChunk = 256 << 10

// ahead is Ahead with the least that keeps both sides busy.
func ahead(r io.Reader) (io.Reader, func()) { return Ahead(r, 2) }

// Ahead reads r in a goroutine of its own, at most chunks times 256 KiB ahead of who
// reads the result, so that decompressing and writing go on at once. The function it
// returns ends the goroutine and waits for it; it may be called once.
func Ahead(r io.Reader, chunks int) (io.Reader, func()) {
	a := &aheadReader{full: make(chan chunk, chunks-2), free: make(chan []byte, chunks), quit: make(chan struct{})}
	for range chunks {
		a.free <- nil
	}
	var wg sync.WaitGroup
	wg.Go(func() { a.fill(r) })
	return a, func() { close(a.quit); wg.Wait() }
}

type chunk struct {
	data []byte
	err  error
}

type aheadReader struct {
	full chan chunk
	free chan []byte
	quit chan struct{}
	now  chunk
	buf  []byte // behind now.data, to give back
}

func (a *aheadReader) fill(r io.Reader) {
	for {
		var buf []byte
		select {
		case buf = <-a.free:
		case <-a.quit:
			return
		}
		if buf == nil {
			buf = make([]byte, aheadChunk)
		}
		n, err := 0, error(nil)
		for n < len(buf) && err == nil {
			var more int
			more, err = r.Read(buf[n:])
			n += more
		}
		select {
		case a.full <- chunk{buf[:n], err}:
		case <-a.quit:
			return
		}
		if err != nil {
			return
		}
	}
}

func (a *aheadReader) Read(p []byte) (int, error) {
	for len(a.now.data) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if a.buf != nil {
			a.free <- a.buf[:cap(a.buf)]
		}
		a.now = <-a.full
		a.buf = a.now.data
	}
	n := copy(p, a.now.data)
	a.now.data = a.now.data[n:]
	return n, nil
}
