package serve

import (
	"io"
	"math"
	"net/http"
	"strconv"
	"time"
)

// A transfer is a request being answered. It counts bytes, and ends it when the client
// neither gives nor takes anything for too long.
type transfer struct {
	http.ResponseWriter
	control        *http.ResponseController
	stall          time.Duration
	code           int
	received, sent int64
	reads, writes  time.Time // until when the client may stand still
}

func newTransfer(w http.ResponseWriter, r *http.Request, stall time.Duration) *transfer {
	t := &transfer{ResponseWriter: w, control: http.NewResponseController(w), stall: stall}
	if r.ProtoMajor == 1 {
		_ = t.control.SetWriteDeadline(time.Time{}) // that of the connection's last request
	}
	return t
}

// Unwrap is for http.ResponseController.
func (t *transfer) Unwrap() http.ResponseWriter { return t.ResponseWriter }

func (t *transfer) WriteHeader(code int) {
	if t.code == 0 {
		t.code = code
	}
	t.ResponseWriter.WriteHeader(code)
}

func (t *transfer) Write(p []byte) (int, error) {
	t.waitToWrite()
	n, err := t.ResponseWriter.Write(p)
	t.sent += int64(n)
	return n, err
}

// ReadFrom lets the kernel copy files. It does so in parts, each with its own time.
func (t *transfer) ReadFrom(r io.Reader) (int64, error) {
	from, ok := t.ResponseWriter.(io.ReaderFrom)
	if !ok {
		return io.Copy(struct{ io.Writer }{t}, r)
	}
	whole, ok := r.(*io.LimitedReader)
	if !ok {
		whole = &io.LimitedReader{R: r, N: math.MaxInt64}
	}
	var n int64
	for whole.N > 0 {
		t.waitToWrite()
		part := &io.LimitedReader{R: whole.R, N: min(whole.N, 4<<20)}
		k, err := from.ReadFrom(part)
		n += k
		t.sent += k
		whole.N -= k
		if err != nil || part.N > 0 {
			return n, err
		}
	}
	return n, nil
}

// Deadlines are moved on only when a part of them is over: moving one has a price.
func (t *transfer) waitToWrite() {
	if now := time.Now(); t.writes.Sub(now) < t.stall {
		t.writes = now.Add(t.stall + t.stall/4)
		_ = t.control.SetWriteDeadline(t.writes) // what cannot have one is a test's
	}
}

func (t *transfer) body(b io.ReadCloser) io.ReadCloser { return &body{b, t} }

// A body is what the client sends.
type body struct {
	io.ReadCloser
	t *transfer
}

func (b *body) Read(p []byte) (int, error) {
	t := b.t
	if now := time.Now(); t.reads.Sub(now) < t.stall {
		t.reads = now.Add(t.stall + t.stall/4)
		_ = t.control.SetReadDeadline(t.reads)
	}
	n, err := b.ReadCloser.Read(p)
	t.received += int64(n)
	if err == io.EOF {
		_ = t.control.SetReadDeadline(time.Time{}) // the connection may have other requests
	}
	return n, err
}

// outcome is how it ended: a code of HTTP, or of gRPC.
func (t *transfer) outcome() string {
	h := t.Header()
	for _, name := range []string{http.TrailerPrefix + "Grpc-Status", "Grpc-Status"} {
		if code, err := strconv.Atoi(h.Get(name)); err == nil {
			return grpcCode(code)
		}
	}
	if t.code == 0 {
		return "200"
	}
	return strconv.Itoa(t.code)
}
