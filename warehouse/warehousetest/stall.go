package warehousetest

import (
	"context"
	"io"
	"net/http"
)

// A Stall is a transport of whose answers nothing more comes after N bytes. It calls
// Reached then, and waits until the request is cancelled.
type Stall struct {
	N       int64
	Reached func()
}

// RoundTrip implements http.RoundTripper.
func (s *Stall) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err == nil && resp.ContentLength > s.N {
		resp.Body = &stalledBody{resp.Body, req.Context(), s.N, s.Reached}
	}
	return resp, err
}

type stalledBody struct {
	io.ReadCloser
	ctx     context.Context
	left    int64
	reached func()
}

func (b *stalledBody) Read(p []byte) (int, error) {
	if b.left == 0 {
		b.reached()
		<-b.ctx.Done()
		return 0, b.ctx.Err()
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
