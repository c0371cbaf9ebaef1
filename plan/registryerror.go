package plan

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// explain names in err the registry and what was asked of it, and says what may help.
// What a server wrote is told only where it is an error of the protocol.
func (r *registry) explain(err error, kind, id string) error {
	if err == nil {
		return nil
	}
	what := "digest " + id
	switch {
	case kind == "blobs":
		what = "blob " + id
	case !strings.Contains(id, ":"):
		what = "tag " + id
	}
	at := fmt.Sprintf("registry %s, repository %s, %s", r.ref.Registry, r.ref.Repository, what)
	answer := (*transport.Error)(nil)
	if !errors.As(err, &answer) {
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			// It repeats the method and the url.
			return keepKind(err, fmt.Errorf("%s: %w", at, wrapped.Err))
		}
		return keepKind(err, fmt.Errorf("%s: %w", at, err))
	}
	text := fmt.Sprintf("%s: the registry answered %d %s%s", at, answer.StatusCode, http.StatusText(answer.StatusCode), codes(answer))
	switch answer.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		text += "; if it exists, it is not for everybody: log in with docker login " + r.ref.Registry
	case http.StatusNotFound:
		text += "; there is no such " + strings.Fields(what)[0] + " or repository, or it is hidden from who is not logged in"
	}
	return keepKind(err, errors.New(text))
}

// codes are the errors of the protocol in an answer.
func codes(answer *transport.Error) string {
	var list []string
	for _, d := range answer.Errors {
		text := strings.ToValidUTF8(string(d.Code), "?")
		if d.Message != "" {
			text += ": " + d.Message
		}
		if len(text) > 200 {
			text = text[:200] + "…"
		}
		list = append(list, text)
	}
	if list == nil {
		return ""
	}
	return fmt.Sprintf(" (%q)", strings.Join(list, "; "))
}

// keepKind gives text the kind of err: final, or to be tried again.
func keepKind(err, text error) error {
	answer := (*transport.Error)(nil)
	final := finalError{}
	wait := retryAfter{}
	switch {
	case errors.As(err, &final):
		return finalError{text}
	case errors.As(err, &wait):
		return retryAfter{text, wait.after}
	case errors.As(err, &answer) && !tryAgain(answer.StatusCode):
		return finalError{text}
	}
	return text
}

func tryAgain(status int) bool {
	return status >= 500 || status == http.StatusRequestTimeout || status == http.StatusTooEarly || status == http.StatusTooManyRequests
}

// waitFor adds to err how long the server asks to wait.
func waitFor(resp *http.Response, err error) error {
	s, parseErr := strconv.Atoi(resp.Header.Get("Retry-After"))
	if parseErr != nil || s <= 0 || !tryAgain(resp.StatusCode) {
		return err
	}
	return retryAfter{err, time.Duration(min(s, 3600)) * time.Second}
}
