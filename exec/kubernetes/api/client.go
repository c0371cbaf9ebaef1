package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/kilnbuild/kiln/internal/retry"
)

// An Error is what the server says of a request that it refuses.
type Error struct {
	Code    int    // of HTTP
	Reason  string // such as NotFound
	Message string
}

func (e *Error) Error() string {
	if e.Message != "" {
		return e.Message
	}
	return http.StatusText(e.Code)
}

// Is reports whether err is the server's, with a code of HTTP.
func Is(err error, code int) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// Pauses between tries while a server restarts: about two minutes in all. All requests that
// are repeated may be: what is created has a name of its own.
var again = retry.Policy{Tries: 16, First: 100 * time.Millisecond, Max: 10 * time.Second}

// Get reads an object, or with a query a list, into out.
func (c *Client) Get(ctx context.Context, path string, query url.Values, out any) error {
	return c.do(ctx, http.MethodGet, path, query, nil, out)
}

// Create makes an object in a collection. out may be nil.
func (c *Client) Create(ctx context.Context, path string, in, out any) error {
	return c.do(ctx, http.MethodPost, path, nil, in, out)
}

// Delete deletes an object, and with foreground what belongs to it before it. That there
// is none is no error.
func (c *Client) Delete(ctx context.Context, path string, foreground bool) error {
	policy := "Background"
	if foreground {
		policy = "Foreground"
	}
	err := c.do(ctx, http.MethodDelete, path, nil, map[string]string{"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": policy}, nil)
	if Is(err, http.StatusNotFound) {
		return nil
	}
	return err
}

// Try is Get without repeating anything.
func (c *Client) Try(ctx context.Context, path string, query url.Values, out any) error {
	return c.once(ctx, http.MethodGet, path, query, nil, out)
}

func (c *Client) do(ctx context.Context, method, path string, query url.Values, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	return again.Do(ctx, func() error { return c.once(ctx, method, path, query, body, out) })
}

func (c *Client) once(ctx context.Context, method, path string, query url.Values, body []byte, out any) error {
	resp, err := c.send(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		_, err := io.Copy(io.Discard, resp.Body)
		return err
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// Stream opens what goes on and on: a log. The caller closes it.
func (c *Client) Stream(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	resp, err := c.send(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// send makes a request and returns its answer, or an *Error.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body []byte) (*http.Response, error) {
	u := url.URL{Scheme: "http", Host: "kubernetes", Path: path, RawQuery: query.Encode()}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, c.refusal(resp)
}

// A server that has just started refuses everybody, since it does not know the rules yet: for
// startLag after it was away that is no answer.
const startLag = 30 * time.Second

func (c *Client) away() { c.awayAt.Store(time.Now().UnixNano()) }

// refuses reports whether an error is the server's answer, which asking again does not change.
func (c *Client) refuses(err error) bool {
	if Is(err, http.StatusUnauthorized) || Is(err, http.StatusForbidden) {
		return time.Since(time.Unix(0, c.awayAt.Load())) > startLag
	}
	return Is(err, http.StatusNotFound)
}

// refusal reads why the server, or what stands before it, refuses.
func (c *Client) refusal(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	var status struct{ Message, Reason string }
	e := &Error{Code: resp.StatusCode}
	if json.Unmarshal(text, &status) == nil {
		e.Message, e.Reason = status.Message, status.Reason
	} else {
		e.Message = string(bytes.TrimSpace(text))
	}
	if e.Code == http.StatusBadGateway || e.Code == http.StatusServiceUnavailable {
		c.away()
	}
	if (e.Code == http.StatusUnauthorized || e.Code == http.StatusForbidden) && !c.refuses(e) {
		return e
	}
	return retry.Answer(resp, e)
}
