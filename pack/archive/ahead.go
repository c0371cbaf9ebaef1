package archive

import (
	"io"
	"sync"
)

// ahead reads r in a goroutine of its own, so that decompressing and writing go on at
// once. The function it returns ends the goroutine and waits for it.
func ahead(r io.Reader) (io.Reader, func()) {
	a := &aheadReader{full: make(chan chunk), free: make(chan []byte, 2), quit: make(chan struct{})}
	for range cap(a.free) {
		a.free <- make([]byte, 256<<10)
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
