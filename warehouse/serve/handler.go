package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/serve/keep"
)

// handler answers everything: who is it, then gRPC or HTTP.
func (s *Server) handler() http.Handler {
	calls, web := s.services(), s.web()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.begin() {
			panic(http.ErrAbortHandler) // its connection has been closed
		}
		defer s.doing.Done()
		begun := time.Now()
		t := newTransfer(w, r, s.o.stall)
		r.Body = t.body(r.Body)
		switch r.URL.Path { // both tell nothing but that the server runs
		case "/healthz":
			t.Header().Set("Content-Type", "text/plain; charset=utf-8")
			io.WriteString(t, "ok\n")
			return
		case healthCheck:
			calls.ServeHTTP(t, r)
			return
		}
		c, err := s.identify(r)
		defer func() { s.ended(t, r, c, begun) }()
		if err != nil {
			s.refuse(t, r, err)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), clientKey{}, c))
		if grpc.Serves(r) {
			calls.ServeHTTP(t, r)
			return
		}
		web.ServeHTTP(t, r)
	})
}

// refuse turns away who is not known.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	s.log.printf("refused %s: %v", r.RemoteAddr, err)
	if grpc.Serves(r) {
		code := grpc.Unauthenticated
		if errors.Is(err, errRebound) {
			code = grpc.PermissionDenied
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", strconv.Itoa(int(code)))
		w.Header().Set("Grpc-Message", err.Error())
		return
	}
	if errors.Is(err, errRebound) {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	w.Header().Set("Www-Authenticate", `Basic realm="kiln", charset="UTF-8"`)
	http.Error(w, err.Error(), http.StatusUnauthorized)
}

// ended counts a request, and tells of it if it shall.
func (s *Server) ended(t *transfer, r *http.Request, c client, begun time.Time) {
	outcome := t.outcome()
	if r.Context().Err() != nil {
		outcome = grpcCode(int(grpc.Canceled)) // nobody was there to be told another
	}
	s.metrics.request(methodOf(r), outcome, t.received, t.sent, time.Since(begun))
	if s.o.LogRequests {
		who := r.RemoteAddr
		if c.name != "" {
			who += " " + strconv.Quote(c.name)
		}
		s.log.printf("%s %s %.200q: %s, %d bytes in, %d out, %v",
			who, r.Method, r.URL.Path, outcome, t.received, t.sent, time.Since(begun).Round(time.Microsecond))
	}
}

var errReadOnly = errors.New("you may read here, not write")

// mayWrite is an error unless the client may hand something in.
func mayWrite(ctx context.Context) error {
	if from(ctx).role < Writer {
		return grpc.Errorf(grpc.PermissionDenied, "%v", errReadOnly)
	}
	return nil
}

// told makes what a client is told of an error: nothing of this machine's directories.
func (s *Server) told(what string, err error) error {
	var known *grpc.Error
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.Is(err, keep.ErrMissing):
		return grpc.Errorf(grpc.NotFound, "%s: not here", what)
	case errors.Is(err, keep.ErrMismatch):
		return grpc.Errorf(grpc.InvalidArgument, "%s: %v", what, err)
	case errors.Is(err, errDamaged):
		s.log.printf("%s: %v", what, err)
		return grpc.Errorf(grpc.DataLoss, "%s: %v", what, errDamaged)
	case errors.Is(err, keep.ErrFull):
		s.log.printf("%s: %v", what, err)
		return grpc.Errorf(grpc.ResourceExhausted, "%s: %v", what, keep.ErrFull)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	s.log.printf("%s: %v", what, err)
	return grpc.Errorf(grpc.Internal, "%s: the server has a problem, which its log tells", what)
}

// httpCode is the status of HTTP that fits an error.
func httpCode(err error) int {
	switch grpc.CodeOf(err) {
	case grpc.OK:
		return http.StatusOK
	case grpc.NotFound, grpc.DataLoss: // another place may have what is damaged here
		return http.StatusNotFound
	case grpc.InvalidArgument:
		return http.StatusBadRequest
	case grpc.PermissionDenied:
		return http.StatusForbidden
	case grpc.ResourceExhausted:
		return http.StatusInsufficientStorage
	}
	return http.StatusInternalServerError
}

func fail(w http.ResponseWriter, err error) {
	message := err.Error()
	var e *grpc.Error
	if errors.As(err, &e) {
		message = e.Message
	}
	http.Error(w, fmt.Sprint(message), httpCode(err))
}
