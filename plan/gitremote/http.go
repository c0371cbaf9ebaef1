package gitremote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/warehouse"
)

const service = "git-upload-pack"

// An httpRemote speaks git's protocol over http: each request is one of its own.
type httpRemote struct {
	o      *Options
	client http.Client
	base   url.URL // without credentials
	auth   *credentials
	bodies []io.Closer
	ended  []func()
}

func newHTTP(u *url.URL, o *Options) *httpRemote {
	h := &httpRemote{o: o, client: *o.Client, base: *u, auth: newCredentials(u)}
	h.base.User, h.base.Fragment = nil, ""
	h.base.Path = strings.TrimSuffix(h.base.Path, "/")
	h.client.CheckRedirect = checkRedirect
	return h
}

// checkRedirect follows redirects as git does: of the first request only, which is
// the one that is not a POST, and never from https to http.
func checkRedirect(next *http.Request, via []*http.Request) error {
	switch {
	case len(via) > 10:
		return errors.New("redirected more than 10 times")
	case via[0].Method != http.MethodGet:
		return fmt.Errorf("redirected to %s after it had answered", warehouse.RedactURL(next.URL.String()))
	case next.URL.Scheme != "https" && (next.URL.Scheme != "http" || via[0].URL.Scheme == "https"):
		return fmt.Errorf("redirected to %s, which is not https", warehouse.RedactURL(next.URL.String()))
	}
	return nil
}

func (h *httpRemote) close() {
	for _, b := range h.bodies {
		b.Close()
	}
	for _, end := range h.ended {
		end()
	}
}

func (h *httpRemote) hello(ctx context.Context) (io.Reader, error) {
	const path = "/info/refs"
	at := h.base
	at.Path += path
	query := at.Query()
	query.Set("service", service)
	at.RawQuery = query.Encode()
	resp, err := h.do(ctx, http.MethodGet, &at, nil)
	if err != nil {
		return nil, err
	}
	if got := resp.Header.Get("Content-Type"); got != "application/x-"+service+"-advertisement" {
		return nil, fmt.Errorf("it is no git repository that speaks git's protocol over http: it answered with %s", clean([]byte(got)))
	}
	// Where it was redirected to, the other requests go too.
	to := *resp.Request.URL
	if base, ok := strings.CutSuffix(to.Path, path); ok && (to.Host != h.base.Host || base != h.base.Path || to.Scheme != h.base.Scheme) {
		if to.Host != h.base.Host {
			h.auth.forget()
		}
		to.Path, to.RawQuery = base, h.base.RawQuery
		h.base = to
	}
	return resp.Body, nil
}

func (h *httpRemote) send(ctx context.Context, request []byte) (io.Reader, error) {
	at := h.base
	at.Path += "/" + service
	resp, err := h.do(ctx, http.MethodPost, &at, request)
	if err != nil {
		return nil, err
	}
	if got := resp.Header.Get("Content-Type"); got != "application/x-"+service+"-result" {
		return nil, fmt.Errorf("it answered with %s", clean([]byte(got)))
	}
	return resp.Body, nil
}

// do does one request, twice if the server asks for credentials that there are.
func (h *httpRemote) do(ctx context.Context, method string, at *url.URL, body []byte) (*http.Response, error) {
	for {
		resp, err := h.once(ctx, method, at, body)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode == http.StatusUnauthorized && h.auth.next(ctx, &h.base) {
			resp.Body.Close()
			continue
		}
		if resp.StatusCode != http.StatusOK {
			return nil, statusError(resp, h.auth)
		}
		return resp, nil
	}
}

func (h *httpRemote) once(ctx context.Context, method string, at *url.URL, body []byte) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	stall := time.AfterFunc(h.o.Stall, func() { cancel(retry.Silent(fmt.Errorf("nothing came for %s", h.o.Stall))) })
	h.ended = append(h.ended, func() { stall.Stop(); cancel(nil) })
	req, err := http.NewRequestWithContext(ctx, method, at.String(), bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the URL cannot be read")
	}
	req.Header.Set("User-Agent", agent)
	req.Header.Set("Git-Protocol", "version=2")
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/x-"+service+"-request")
		req.Header.Set("Accept", "application/x-"+service+"-result")
	}
	h.auth.apply(req)
	resp, err := h.client.Do(req)
	if err != nil {
		// The client's error repeats the method and the url.
		if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return nil, &TemporaryError{Err: err}
	}
	resp.Body = &stallBody{ReadCloser: resp.Body, ctx: ctx, stall: stall, after: h.o.Stall}
	h.bodies = append(h.bodies, resp.Body)
	return resp, nil
}

// A stallBody is a body that ends when nothing comes for too long.
type stallBody struct {
	io.ReadCloser
	ctx   context.Context
	stall *time.Timer
	after time.Duration
}

func (b *stallBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.stall.Reset(b.after)
	}
	if err != nil && err != io.EOF {
		if cause := context.Cause(b.ctx); cause != nil {
			err = cause
		}
		err = &TemporaryError{Err: err}
	}
	return n, err
}

func statusError(resp *http.Response, auth *credentials) error {
	resp.Body.Close()
	err := fmt.Errorf("the server answered %s", resp.Status)
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized && auth.sent():
		return fmt.Errorf("%w to the name and password that %s has for it", err, auth.from)
	case code == http.StatusUnauthorized:
		return fmt.Errorf("%w: it is private or not there, and neither a .netrc file nor git's credential helpers know a password for it", err)
	case code == http.StatusNotFound:
		return fmt.Errorf("%w: there is no such repository, or it is private", err)
	case code >= 500, code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests:
		t := &TemporaryError{Err: err}
		if s, parseErr := strconv.Atoi(resp.Header.Get("Retry-After")); parseErr == nil && s > 0 {
			t.After = time.Duration(min(s, 3600)) * time.Second
		}
		return t
	}
	return err
}
