package api

import (
	"io"
	"net/http"
	"sync/atomic"
)

// Counts are what a client has asked of the server so far.
type Counts struct {
	Calls    int64 // requests; a watch or a log is one
	Sent     int64 // bytes of their bodies
	Received int64 // bytes of the answers' bodies
}

// Counts returns the client's counts.
func (c *Client) Counts() Counts {
	return Counts{c.count.calls.Load(), c.count.sent.Load(), c.count.received.Load()}
}

// A counter counts what passes.
type counter struct {
	next                  http.RoundTripper
	calls, sent, received atomic.Int64
}

func (c *counter) RoundTrip(req *http.Request) (*http.Response, error) {
	c.calls.Add(1)
	c.sent.Add(max(0, req.ContentLength))
	resp, err := c.next.RoundTrip(req)
	if err == nil {
		resp.Body = &countedBody{resp.Body, &c.received}
	}
	return resp, err
}

// CloseIdleConnections lets http.Client reach the transport.
func (c *counter) CloseIdleConnections() {
	if t, ok := c.next.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}
