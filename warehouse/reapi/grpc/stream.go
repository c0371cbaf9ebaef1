package grpc

import (
	"context"
	"io"
	"net/http"
)

// A Stream is a call of a method that takes or gives several messages. One goroutine
// may send while another receives.
type Stream struct {
	c      *Conn
	ctx    context.Context
	cancel context.CancelFunc
	body   *io.PipeWriter
	buf    []byte
	got    chan struct{} // closed when answer or err is there
	answer *http.Response
	err    error
}

// Stream begins a call. The caller closes the Stream.
func (c *Conn) Stream(ctx context.Context, method string) *Stream {
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	s := &Stream{c: c, ctx: ctx, cancel: cancel, body: w, got: make(chan struct{})}
	req, err := c.request(ctx, method, r)
	if err != nil {
		s.err = err
		r.CloseWithError(err)
		close(s.got)
		return s
	}
	go func() {
		defer close(s.got)
		s.answer, s.err = c.guarded.RoundTrip(req)
		if s.err != nil {
			s.err = lost(ctx, s.err)
			r.CloseWithError(s.err)
			return
		}
		if s.err = begun(s.answer); s.err != nil {
			r.CloseWithError(s.err)
		}
	}()
	return s
}

// Send sends a message. The error is io.EOF if the call has ended: Receive tells how.
func (s *Stream) Send(m Message) error {
	s.buf = appendFramed(s.buf[:0], m)
	if _, err := s.body.Write(s.buf); err != nil {
		return io.EOF
	}
	return nil
}

// CloseSend says that there is nothing more to send.
func (s *Stream) CloseSend() error { return s.body.Close() }

// Receive reads a message; the error is io.EOF when the call has ended well.
func (s *Stream) Receive(m Message) error {
	if <-s.got; s.err != nil {
		return s.err
	}
	err := receive(s.answer.Body, m, s.c.o.MaxMessage)
	if err == nil {
		return nil
	}
	if err == io.EOF {
		if s.err = ended(s.ctx, s.answer, nil); s.err == nil {
			s.err = io.EOF
		}
		return s.err
	}
	s.err = ended(s.ctx, s.answer, err)
	return s.err
}

// ReceiveOnly reads the one message of a method that gives no more, and how it ended.
func (s *Stream) ReceiveOnly(m Message) error {
	if <-s.got; s.err != nil {
		return s.err
	}
	return ended(s.ctx, s.answer, receiveOnly(s.answer.Body, m, s.c.o.MaxMessage))
}

// Close ends the call, if it has not ended.
func (s *Stream) Close() {
	s.cancel()
	s.body.CloseWithError(context.Canceled)
	if <-s.got; s.answer != nil {
		s.answer.Body.Close()
	}
}
