package retry

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Guard ends requests in which nothing moves any more, which no deadline for a whole
// transfer could tell from long ones.
type Guard struct {
	Next http.RoundTripper
	// Stall is how long a connection may be silent while bytes are on their way; 0: a
	// minute.
	Stall time.Duration
	// Think is how long a server may take to answer after it has all of a request's
	// body; 0: five minutes, since some then copy what they got. Without a body that is
	// Stall.
	Think time.Duration
}

const (
	defaultStall = time.Minute
	defaultThink = 5 * time.Minute
)

// RoundTrip implements http.RoundTripper.
func (g *Guard) RoundTrip(req *http.Request) (*http.Response, error) {
	w := &watch{stall: g.Stall, think: g.Think}
	if w.stall == 0 {
		w.stall = defaultStall
	}
	if w.think == 0 {
		w.think = defaultThink
	}
	if IsHurried(req.Context()) {
		w.stall = min(w.stall, HurriedStall)
	}
	if req.Body == nil || req.Body == http.NoBody {
		w.think = w.stall
	}
	w.ctx, w.cancel = context.WithCancelCause(req.Context())
	w.wait("no answer", w.think)
	req = req.WithContext(w.ctx)
	if req.Body != nil && req.Body != http.NoBody {
		req.Body = &sent{req.Body, w}
	}
	resp, err := g.Next.RoundTrip(req)
	w.answered()
	if err != nil {
		err = w.why(err)
		w.cancel(nil)
		return nil, err
	}
	resp.Body = &received{resp.Body, w}
	return resp, nil
}

// A silentError says that a server said nothing for long.
type silentError struct{ error }

func (e silentError) Unwrap() error { return e.error }

// A watch cancels a request when what it waits for does not come.
type watch struct {
	ctx          context.Context
	cancel       context.CancelCauseFunc
	stall, think time.Duration

	mu     sync.Mutex
	timer  *time.Timer
	answer bool // has come: what is still being sent is waited for no more
}

func (w *watch) wait(what string, d time.Duration) {
	if w.timer != nil {
		w.timer.Stop()
	}
	w.timer = time.AfterFunc(d, func() { w.cancel(silentError{fmt.Errorf("%s for %s", what, d)}) })
}

func (w *watch) answered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = true
	w.timer.Stop()
}

// why returns the reason that the request was cancelled for, if it was, else err.
func (w *watch) why(err error) error {
	if cause := context.Cause(w.ctx); cause != nil {
		return cause
	}
	return err
}

// sent is the body of a request. From one read to the next, what was read is sent.
type sent struct {
	io.ReadCloser
	w *watch
}

func (s *sent) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	switch {
	case s.w.answer:
	case err == nil:
		s.w.wait("nothing could be sent", s.w.stall)
	default:
		s.w.wait("no answer", s.w.think)
	}
	return n, err
}

// received is the body of an answer. Only while somebody reads it is it waited for.
type received struct {
	io.ReadCloser
	w *watch
}

func (r *received) Read(p []byte) (int, error) {
	r.w.wait("nothing came", r.w.stall)
	n, err := r.ReadCloser.Read(p)
	r.w.timer.Stop()
	if err != nil && err != io.EOF {
		err = r.w.why(err)
	}
	return n, err
}

func (r *received) Close() error {
	err := r.ReadCloser.Close()
	r.w.cancel(nil)
	return err
}
