package grpc

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/kilnbuild/kiln/internal/retry"
)

// Options say how a server is reached.
type Options struct {
	TLS        *tls.Config // nil: plaintext
	Header     http.Header // sent with each call, such as Authorization
	UserAgent  string
	MaxMessage int // bytes of a message that is received; 0: DefaultMaxMessage
	// Idle is after how long without a word from the server it is asked whether it is
	// there, and how long it then has to answer. 0: 20 seconds.
	Idle time.Duration
	// Stall is how long a call may stand still on the way, though the server is there.
	// 0: a minute.
	Stall time.Duration
}

// A Conn calls methods of one server, over one connection, which it makes at the first
// call and anew when it is lost. Its methods are safe for concurrent use.
type Conn struct {
	o         Options
	base      string
	transport *http.Transport
	guarded   http.RoundTripper
}

// NewConn returns a Conn to the server at host:port. Nothing is sent yet.
func NewConn(address string, o Options) *Conn {
	if o.MaxMessage == 0 {
		o.MaxMessage = DefaultMaxMessage
	}
	if o.Idle == 0 {
		o.Idle = 20 * time.Second
	}
	var protocols http.Protocols
	scheme, proxy := "https://", http.ProxyFromEnvironment
	if protocols.SetHTTP2(true); o.TLS == nil {
		// Proxies of plaintext speak HTTP/1.
		scheme, proxy, protocols = "http://", nil, http.Protocols{}
		protocols.SetUnencryptedHTTP2(true)
	}
	c := &Conn{o: o, base: scheme + address, transport: &http.Transport{
		TLSClientConfig:     o.TLS,
		TLSHandshakeTimeout: o.Idle,
		Protocols:           &protocols,
		DisableCompression:  true,
		Proxy:               proxy,
		HTTP2: &http.HTTP2Config{
			SendPingTimeout:               o.Idle,
			PingTimeout:                   o.Idle,
			WriteByteTimeout:              2 * o.Idle,
			MaxReceiveBufferPerStream:     4 << 20,
			MaxReceiveBufferPerConnection: 64 << 20,
		},
	}}
	c.guarded = &retry.Guard{Next: c.transport, Stall: o.Stall}
	return c
}

// Close drops the connection; calls that are under way end on their own.
func (c *Conn) Close() error {
	c.transport.CloseIdleConnections()
	return nil
}

// Call calls a unary method, "/package.Service/Method". Its error is an *Error, or
// wraps the context's.
func (c *Conn) Call(ctx context.Context, method string, req, resp Message) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	body := appendFramed(nil, req)
	r, err := c.request(ctx, method, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.ContentLength = int64(len(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	answer, err := c.guarded.RoundTrip(r)
	if err != nil {
		return lost(ctx, err)
	}
	defer answer.Body.Close()
	if err := begun(answer); err != nil {
		return err
	}
	if err := receiveOnly(answer.Body, resp, c.o.MaxMessage); err != nil {
		return ended(ctx, answer, err)
	}
	return ended(ctx, answer, nil)
}

func (c *Conn) request(ctx context.Context, method string, body io.Reader) (*http.Request, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+method, body)
	if err != nil {
		return nil, Errorf(InvalidArgument, "call %s: %v", method, err)
	}
	for name, values := range c.o.Header {
		r.Header[name] = values
	}
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Te", "trailers")
	r.Header.Set("User-Agent", c.o.UserAgent)
	if deadline, ok := ctx.Deadline(); ok {
		r.Header.Set(timeoutHeader, timeout(time.Until(deadline)))
	}
	return r, nil
}

// timeout writes a duration for its header, in at most eight digits.
func timeout(d time.Duration) string {
	switch d = max(d, 0); {
	case d < 10*time.Second:
		return strconv.FormatInt(d.Microseconds(), 10) + "u"
	case d < 10_000*time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + "m"
	}
	return strconv.FormatInt(min(int64(d.Seconds()), 99_999_999), 10) + "S"
}

// begun looks at the head of an answer: it may be all there is.
func begun(answer *http.Response) error {
	if err, ok := statusOf(answer.Header); ok && err != nil {
		return err
	}
	t := answer.Header.Get("Content-Type")
	if answer.StatusCode != http.StatusOK || len(t) < len(contentType) || t[:len(contentType)] != contentType {
		return ofHTTP(answer)
	}
	return nil
}

// ended returns how a call ended whose messages were read, or could not be: what the
// server says counts more than what was seen of it.
func ended(ctx context.Context, answer *http.Response, err error) error {
	var known *Error
	if err != nil && !errors.As(err, &known) {
		return lost(ctx, err)
	}
	if said, ok := statusOf(answer.Trailer); ok && said != nil {
		return said
	} else if ok {
		return err
	}
	if said, ok := statusOf(answer.Header); ok && said != nil { // nothing but a head
		return said
	} else if ok {
		return err
	}
	if err == nil {
		err = Errorf(Internal, "the call ended without a status")
	}
	return err
}
