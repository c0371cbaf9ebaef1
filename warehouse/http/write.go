package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"net/url"
	"path"

	"github.com/kilnbuild/kiln/warehouse"
)

// put writes what is at u. That nobody sees a part of it is the server's doing: nginx
// and Apache write beside and rename.
func (s *server) put(ctx context.Context, u *url.URL, body io.ReaderAt, size int64) error {
	r := request{method: nethttp.MethodPut, url: u, body: io.NewSectionReader(body, 0, size)}
	resp, err := s.send(ctx, r)
	if is(err, nethttp.StatusConflict, nethttp.StatusNotFound) {
		// RFC 4918, section 9.7.1: there is no such collection to put it in.
		if s.collection(ctx, u) == nil {
			resp, err = s.send(ctx, r)
		}
	}
	switch {
	case err == nil:
		drain(resp)
	case is(err, nethttp.StatusUnauthorized, nethttp.StatusForbidden, nethttp.StatusNotFound, nethttp.StatusConflict,
		nethttp.StatusMethodNotAllowed, nethttp.StatusNotImplemented):
		return fmt.Errorf("%w: to PUT %w", warehouse.ErrReadOnly, err)
	default:
		return err
	}
	info, err := s.stat(ctx, u)
	if errors.Is(err, warehouse.ErrMissing) || err == nil && info.Size >= 0 && info.Size != size {
		return fmt.Errorf("%w: the server answered %s to PUT, and has not kept it", warehouse.ErrReadOnly, resp.Status)
	}
	return err
}

// collection makes the collection that u is in, and those above it up to base.
func (s *server) collection(ctx context.Context, u *url.URL) error {
	up := *u
	up.RawPath = ""
	up.Path = path.Dir(u.Path)
	if len(up.Path) <= len(path.Clean(s.base.Path)) {
		return errors.New("the warehouse itself is not there")
	}
	at := up
	at.Path += "/"
	resp, err := s.send(ctx, request{method: "MKCOL", url: &at})
	if is(err, nethttp.StatusConflict, nethttp.StatusNotFound) {
		if err = s.collection(ctx, &up); err == nil {
			resp, err = s.send(ctx, request{method: "MKCOL", url: &at})
		}
	}
	if is(err, nethttp.StatusMethodNotAllowed) {
		return nil // it is there
	}
	if err == nil {
		drain(resp)
	}
	return err
}
