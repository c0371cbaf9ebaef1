package http

import (
	"context"
	"errors"
	"fmt"
	"mime"
	nethttp "net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/warehouse/packed"
)

// open begins to read what is at u.
func (s *server) open(ctx context.Context, u *url.URL, offset int64, version string) (*packed.Object, error) {
	r := request{method: nethttp.MethodGet, url: u}
	if offset > 0 {
		r.header = map[string]string{"Range": fmt.Sprintf("bytes=%d-", offset)}
		if version != "" {
			r.header["If-Range"] = version
		}
	}
	resp, err := s.send(ctx, r)
	if offset > 0 && is(err, nethttp.StatusRequestedRangeNotSatisfiable, nethttp.StatusPreconditionFailed) {
		return s.open(ctx, u, 0, "")
	}
	if err != nil {
		return nil, missing(u, err)
	}
	o, err := ObjectOf(resp, offset)
	if err == nil && o.Offset > 0 && version != "" && o.Version != "" && o.Version != version {
		err = errors.New("the server gave a range of another version")
	}
	if err != nil {
		resp.Body.Close()
		if offset > 0 {
			return s.open(ctx, u, 0, "") // who answers so knows no ranges
		}
		return nil, retry.Final(err)
	}
	return o, nil
}

// ObjectOf makes an object of the answer to a request for all from offset on.
func ObjectOf(resp *nethttp.Response, offset int64) (*packed.Object, error) {
	o := &packed.Object{ReadCloser: resp.Body, Info: packed.Info{Size: resp.ContentLength, Version: versionOf(resp.Header)}}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err == nil {
		o.Type = kind
	}
	switch resp.StatusCode {
	case nethttp.StatusOK:
		return o, nil
	case nethttp.StatusPartialContent:
		var err error
		o.Offset = offset
		o.Size, err = totalOf(resp.Header.Get("Content-Range"), offset)
		if err == nil && offset == 0 {
			err = errors.New("which was not asked for")
		}
		if err != nil {
			return nil, fmt.Errorf("the server answered %s, %w", resp.Status, err)
		}
		return o, nil
	}
	return nil, fmt.Errorf("the server answered %s", resp.Status)
}

// totalOf reads a Content-Range, RFC 9110, section 14.4, and returns the size of the
// whole, -1 if that is not said. It must be about all from offset on.
func totalOf(contentRange string, offset int64) (int64, error) {
	bad := fmt.Errorf("of the range %q, not of all from byte %d on", contentRange, offset)
	span, ok := strings.CutPrefix(contentRange, "bytes ")
	span, total, ok2 := strings.Cut(span, "/")
	first, last, ok3 := strings.Cut(span, "-")
	from, err := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	if !ok || !ok2 || !ok3 || err != nil || err2 != nil || from != offset {
		return 0, bad
	}
	if total == "*" {
		return -1, nil
	}
	size, err := strconv.ParseInt(total, 10, 64)
	if err != nil || to != size-1 {
		return 0, bad
	}
	return size, nil
}

// versionOf returns what If-Range can be asked with: a strong ETag, or the time of the
// last change, RFC 9110, section 13.1.5.
func versionOf(h nethttp.Header) string {
	if tag := h.Get("ETag"); strings.HasPrefix(tag, `"`) {
		return tag
	}
	return h.Get("Last-Modified")
}

// stat asks for what is known of what is at u.
func (s *server) stat(ctx context.Context, u *url.URL) (packed.Info, error) {
	resp, err := s.send(ctx, request{method: nethttp.MethodHead, url: u})
	if is(err, nethttp.StatusMethodNotAllowed, nethttp.StatusNotImplemented) {
		return s.peek(ctx, u)
	}
	if err != nil {
		return packed.Info{}, missing(u, err)
	}
	resp.Body.Close()
	return packed.Info{Size: resp.ContentLength, Version: versionOf(resp.Header)}, nil
}

// peek is stat for a server that knows no HEAD.
func (s *server) peek(ctx context.Context, u *url.URL) (packed.Info, error) {
	o, err := s.open(ctx, u, 0, "")
	if err != nil {
		return packed.Info{}, err
	}
	return o.Info, o.Close()
}
