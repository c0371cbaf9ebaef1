package pack

import (
	"bytes"
	"hash"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A chunk is a part of a file, given free when its hashers and its writer are done.
type chunk struct {
	buf   [256 << 10]byte
	n     int
	users atomic.Int32
}

var chunkPool = sync.Pool{New: func() any { return new(chunk) }}

// hashers hash one file, each in a goroutine of its own.
type hashers struct {
	free chan *chunk
	in   []chan *chunk
	wg   sync.WaitGroup
}

func startHashers(hashes []hash.Hash) *hashers {
	const chunks = 3 // one read and written, one hashed, one between
	h := &hashers{free: make(chan *chunk, chunks)}
	for range chunks {
		h.free <- chunkPool.Get().(*chunk)
	}
	for _, sum := range hashes {
		in := make(chan *chunk, chunks)
		h.in = append(h.in, in)
		h.wg.Go(func() {
			for c := range in {
				sum.Write(c.buf[:c.n])
				h.drop(c)
			}
		})
	}
	return h
}

// take hashes c, which the caller drops when it is done with it too.
func (h *hashers) take(c *chunk) {
	c.users.Store(int32(len(h.in)) + 1)
	for _, in := range h.in {
		in <- c
	}
}

func (h *hashers) drop(c *chunk) {
	if c.users.Add(-1) <= 0 {
		h.free <- c
	}
}

// wait ends the hashers when they have hashed what they have.
func (h *hashers) wait() {
	for _, in := range h.in {
		close(in)
	}
	h.wg.Wait()
	for range cap(h.free) {
		chunkPool.Put(<-h.free)
	}
}

// stream writes a large file as it is read, and hashes it in a goroutine of its own,
// for SHA-384 in another. Where the content is zeros the file gets holes.
func (b *Builder) stream(parent *planted, n *node, size int64, content io.Reader) (err error) {
	fd, err := createFile(parent.dst, n)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	b.s.sha256.Reset()
	b.s.sha384.Reset()
	hashes := []hash.Hash{b.s.sha256}
	if b.o.rio() {
		hashes = append(hashes, b.s.sha384)
	}
	h := startHashers(hashes)
	at, hole, err := b.streamTo(fd, size, content, h)
	h.wait()
	if err == nil && hole {
		err = retry(func() error { return unix.Ftruncate(fd, at) })
	}
	if err != nil {
		return err
	}
	n.digest.size = size
	b.s.sha256.Sum(n.digest.sum[:0])
	if b.o.rio() {
		sum := new([48]byte)
		b.s.sha384.Sum(sum[:0])
		n.rio = rioFile(n, sum, b.s)
		if parent.single {
			n.content = sum
		}
	}
	return finish(fd, n)
}

// streamTo copies size bytes of content to fd and h. It returns how far it came and
// whether the last of it is a hole, which does not lengthen the file.
func (b *Builder) streamTo(fd int, size int64, content io.Reader, h *hashers) (at int64, hole bool, err error) {
	for at < size {
		if err := b.ctx.Err(); err != nil {
			return at, false, err
		}
		c := <-h.free
		c.n = int(min(int64(len(c.buf)), size-at))
		if _, err := io.ReadFull(content, c.buf[:c.n]); err != nil {
			h.free <- c
			return at, false, err
		}
		at += int64(c.n)
		b.progress(0, int64(c.n))
		h.take(c)
		if hole = isZero(c.buf[:c.n]); hole {
			_, err = unix.Seek(fd, at, io.SeekStart)
		} else {
			err = writeAll(fd, c.buf[:c.n])
		}
		h.drop(c)
		if err == nil {
			err = b.inRatio()
		}
		if err != nil {
			return at, false, err
		}
	}
	return at, hole, nil
}

func isZero(p []byte) bool {
	return p[0] == 0 && p[len(p)-1] == 0 && bytes.Equal(p[1:], p[:len(p)-1])
}
