package grpc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// A Code says how a call ended.
type Code uint32

// The codes of gRPC, doc/statuscodes.md of github.com/grpc/grpc.
const (
	OK Code = iota
	Canceled
	Unknown
	InvalidArgument
	DeadlineExceeded
	NotFound
	AlreadyExists
	PermissionDenied
	ResourceExhausted
	FailedPrecondition
	Aborted
	OutOfRange
	Unimplemented
	Internal
	Unavailable
	DataLoss
	Unauthenticated
)

func (c Code) String() string {
	switch c {
	case OK:
		return "ok"
	case Canceled:
		return "cancelled"
	case InvalidArgument:
		return "invalid argument"
	case DeadlineExceeded:
		return "deadline exceeded"
	case NotFound:
		return "not found"
	case AlreadyExists:
		return "already exists"
	case PermissionDenied:
		return "permission denied"
	case ResourceExhausted:
		return "resource exhausted"
	case FailedPrecondition:
		return "failed precondition"
	case Aborted:
		return "aborted"
	case OutOfRange:
		return "out of range"
	case Unimplemented:
		return "unimplemented"
	case Internal:
		return "internal error"
	case Unavailable:
		return "unavailable"
	case DataLoss:
		return "data loss"
	case Unauthenticated:
		return "unauthenticated"
	}
	return "unknown error"
}

// An Error is how a call ended that did not end well: because the other side said so,
// or because it could not be reached.
type Error struct {
	Code    Code
	Message string
	cause   error // of what did not come from the other side
}

func (e *Error) Error() string {
	switch {
	case e.Message == "" && e.cause != nil:
		return e.cause.Error()
	case e.Message == "":
		return e.Code.String()
	}
	return e.Code.String() + ": " + e.Message
}

// Unwrap returns what the connection or the context said.
func (e *Error) Unwrap() error { return e.cause }

// Errorf makes an Error.
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of an error: OK of nil, Unknown of one that has none.
func CodeOf(err error) Code {
	var e *Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &e):
		return e.Code
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, context.DeadlineExceeded):
		return DeadlineExceeded
	}
	return Unknown
}

// lost makes an Error of what went wrong with a connection.
func lost(ctx context.Context, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	if ctx.Err() != nil {
		return &Error{Code: CodeOf(ctx.Err()), cause: context.Cause(ctx)}
	}
	var around *url.Error
	if errors.As(err, &around) {
		err = around.Err
	}
	return &Error{Code: Unavailable, cause: err}
}

const (
	statusHeader  = "Grpc-Status"
	messageHeader = "Grpc-Message"
	timeoutHeader = "Grpc-Timeout"
	contentType   = "application/grpc"
)

// statusOf reads how a call ended from trailers; ok is false if they do not say.
func statusOf(h http.Header) (err error, ok bool) {
	v := h.Get(statusHeader)
	if v == "" {
		return nil, false
	}
	code, bad := strconv.ParseUint(v, 10, 32)
	switch {
	case bad != nil:
		return Errorf(Internal, "the status of the call is %q", v), true
	case code == 0:
		return nil, true
	}
	return &Error{Code: Code(code), Message: printable(h.Get(messageHeader))}, true
}

// ofHTTP makes an Error of an answer that is none of gRPC: doc/http-grpc-status-mapping.md.
func ofHTTP(resp *http.Response) error {
	code := Unknown
	switch resp.StatusCode {
	case http.StatusBadRequest:
		code = Internal
	case http.StatusUnauthorized:
		code = Unauthenticated
	case http.StatusForbidden:
		code = PermissionDenied
	case http.StatusNotFound:
		code = Unimplemented
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		code = Unavailable
	}
	return Errorf(code, "the answer is not gRPC: HTTP status %d, content type %q",
		resp.StatusCode, resp.Header.Get("Content-Type"))
}

// maxSaid is how much of what the other side says is repeated, in bytes.
const maxSaid = 2048

// printable decodes a message of the other side, which may end up on a terminal.
func printable(said string) string {
	if len(said) > 3*maxSaid {
		said = said[:3*maxSaid]
	}
	if text, err := url.PathUnescape(said); err == nil {
		said = text
	}
	said = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, said)
	if len(said) > maxSaid {
		said = strings.ToValidUTF8(said[:maxSaid], "") + "…"
	}
	return said
}

// escape encodes a message for a trailer.
func escape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= ' ' && c <= '~' && c != '%' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}
