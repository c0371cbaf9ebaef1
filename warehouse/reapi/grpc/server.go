package grpc

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// A Server is an http.Handler that serves methods to clients of HTTP/2: plaintext
// where the http.Server's Protocols have UnencryptedHTTP2.
type Server struct {
	methods map[string]Handler
	// MaxMessage is how large a message that is received may be, in bytes; 0:
	// DefaultMaxMessage.
	MaxMessage int
}

// A Handler serves the calls of one method. The call ends with its error, which should
// be an *Error: of any other, the client learns its text and code Unknown.
type Handler func(ctx context.Context, call *ServerCall) error

// Handle serves a method, "/package.Service/Method". It must not be called once the
// Server serves.
func (s *Server) Handle(method string, h Handler) {
	if s.methods == nil {
		s.methods = map[string]Handler{}
	}
	s.methods[method] = h
}

// Unary makes a Handler of a function from one message to one.
func Unary[Q, A any, PQ pointer[Q], PA pointer[A]](f func(context.Context, PQ) (PA, error)) Handler {
	return func(ctx context.Context, call *ServerCall) error {
		req := PQ(new(Q))
		if err := receiveOnly(call.r.Body, req, call.max); err != nil {
			return err
		}
		resp, err := f(ctx, req)
		if err != nil {
			return err
		}
		_, err = call.w.Write(appendFramed(nil, resp))
		return err
	}
}

// Serves reports whether a request is for gRPC, so that others can go elsewhere.
func Serves(r *http.Request) bool {
	return r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), contentType)
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !Serves(r) || r.Method != http.MethodPost {
		http.Error(w, "gRPC is served here, over HTTP/2", http.StatusUnsupportedMediaType)
		return
	}
	w.Header().Set("Content-Type", contentType)
	err := s.serve(w, r)
	if err != nil && errors.Is(err, r.Context().Err()) {
		panic(http.ErrAbortHandler) // nobody is there to be told
	}
	code, message := OK, ""
	if err != nil {
		var e *Error
		if code, message = CodeOf(err), err.Error(); errors.As(err, &e) && e.Message != "" {
			message = e.Message
		}
	}
	w.Header().Set(http.TrailerPrefix+statusHeader, strconv.Itoa(int(code)))
	if message != "" {
		w.Header().Set(http.TrailerPrefix+messageHeader, escape(message))
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) error {
	h, ok := s.methods[r.URL.Path]
	if !ok {
		return Errorf(Unimplemented, "there is no method %s here", r.URL.Path)
	}
	ctx := r.Context()
	if t := r.Header.Get(timeoutHeader); t != "" {
		d, err := parseTimeout(t)
		if err != nil {
			return err
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	limit := s.MaxMessage
	if limit == 0 {
		limit = DefaultMaxMessage
	}
	return h(ctx, &ServerCall{w: w, r: r, max: limit})
}

// parseTimeout reads what timeout writes.
func parseTimeout(s string) (time.Duration, error) {
	unit := map[byte]time.Duration{
		'H': time.Hour, 'M': time.Minute, 'S': time.Second,
		'm': time.Millisecond, 'u': time.Microsecond, 'n': time.Nanosecond,
	}[s[len(s)-1]]
	n, err := strconv.ParseUint(s[:len(s)-1], 10, 32)
	if err != nil || unit == 0 || len(s) > 9 {
		return 0, Errorf(InvalidArgument, "the call's timeout is %q", s)
	}
	if max := uint64(1<<63-1) / uint64(unit); n > max {
		n = max
	}
	return time.Duration(n) * unit, nil
}

// A ServerCall is a call being served: where its messages are read and written.
type ServerCall struct {
	w   http.ResponseWriter
	r   *http.Request
	max int
	buf []byte
}

// Header returns what the client sent along.
func (c *ServerCall) Header() http.Header { return c.r.Header }

// Receive reads a message; the error is io.EOF when the client has no more.
func (c *ServerCall) Receive(m Message) error {
	err := receive(c.r.Body, m, c.max)
	if err != nil && err != io.EOF {
		return lost(c.r.Context(), err)
	}
	return err
}

// Interrupt has Receive fail, also one that waits. It must not be called when the Handler
// has returned.
func (c *ServerCall) Interrupt() {
	_ = http.NewResponseController(c.w).SetReadDeadline(time.Unix(1, 0)) // what cannot have one is a test's
}

// Send sends a message at once.
func (c *ServerCall) Send(m Message) error {
	c.buf = appendFramed(c.buf[:0], m)
	if _, err := c.w.Write(c.buf); err != nil {
		return lost(c.r.Context(), err)
	}
	return http.NewResponseController(c.w).Flush()
}
