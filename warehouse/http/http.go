// Package http keeps objects on a web server: those of a directory laid out by content,
// or the one that a URL names. It writes where the server takes PUT, as nginx does with
// its dav module.
package http

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/packed"
)

// Options says how a server is spoken to. The zero value is what most need.
type Options struct {
	// Transport is for requests; nil: one with the proxies of the environment.
	Transport nethttp.RoundTripper
	// Username and Password, or Token, a bearer's, are sent with each request, to the
	// host of the URL only. Without them it is those of the URL, or when the server asks,
	// over https or to this machine, those of the .netrc file.
	Username, Password, Token string
	// Downgrade allows redirects from https to http: for bytes of a known hash.
	Downgrade bool
	Retry     retry.Policy
	Stall     time.Duration // how long nothing may come; 0: a minute
}

// atOnce is how many idle connections are kept: as many as package packed asks at once.
const atOnce = 16

// Open returns the objects in the directory at a URL, laid out by content.
func Open(rawURL string, o Options) (packed.Objects, error) {
	s, err := newServer(rawURL, o)
	if err != nil {
		return nil, err
	}
	s.login = "token_env, or username and password_env, of the warehouse in config.hcl, or an entry for this host in ~/.netrc, says who asks"
	return &objects{s}, nil
}

// File returns the one object at a URL, whatever name it is asked for by. It cannot be
// written.
func File(rawURL string, o Options) (packed.Objects, error) {
	s, err := newServer(rawURL, o)
	if err != nil {
		return nil, err
	}
	s.login = "an entry for this host in ~/.netrc says who asks, over https"
	return one{s}, nil
}

// objects is a directory on a server.
type objects struct{ *server }

func (o *objects) at(name string) *url.URL { return o.base.JoinPath(packed.Path(name)) }

func (o *objects) String() string { return "ca+" + warehouse.RedactURL(o.base.String()) }

func (o *objects) Open(ctx context.Context, name string, offset int64, version string) (*packed.Object, error) {
	return o.open(ctx, o.at(name), offset, version)
}

func (o *objects) Stat(ctx context.Context, name string) (packed.Info, error) {
	return o.stat(ctx, o.at(name))
}

func (o *objects) Put(ctx context.Context, name string, body io.ReaderAt, size int64) error {
	return o.put(ctx, o.at(name), body, size)
}

// one is one object.
type one struct{ *server }

func (f one) String() string { return warehouse.RedactURL(f.base.String()) }

func (f one) Open(ctx context.Context, _ string, offset int64, version string) (*packed.Object, error) {
	return f.open(ctx, f.base, offset, version)
}

func (f one) Stat(ctx context.Context, _ string) (packed.Info, error) { return f.stat(ctx, f.base) }

func (f one) Put(context.Context, string, io.ReaderAt, int64) error {
	return fmt.Errorf("%w: it is the address of one ware, not of a warehouse", warehouse.ErrReadOnly)
}

// A server is who requests are sent to.
type server struct {
	base   *url.URL // without credentials
	o      Options
	client *nethttp.Client
	own    *nethttp.Transport // nil: the caller's
	auth   auth
	login  string // how a person says who asks
}

func newServer(rawURL string, o Options) (*server, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, WithoutURL(err)
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%s is no http or https URL with a host", warehouse.RedactURL(u.String()))
	}
	s := &server{o: o}
	s.auth.init(u, o)
	base := *u
	base.User, base.Fragment = nil, ""
	s.base = &base
	transport := o.Transport
	if transport == nil {
		s.own = nethttp.DefaultTransport.(*nethttp.Transport).Clone()
		s.own.DisableCompression = true // bytes as they are, whatever a header says
		s.own.MaxIdleConnsPerHost = atOnce
		transport = s.own
	}
	s.client = &nethttp.Client{
		Transport:     &retry.Guard{Next: transport, Stall: o.Stall, Think: o.Stall},
		CheckRedirect: s.checkRedirect,
	}
	return s, nil
}

// Close ends idle connections.
func (s *server) Close() error {
	if s.own != nil {
		s.own.CloseIdleConnections()
	}
	return nil
}

const maxRedirects = 10 // as browsers and Go's own client

// checkRedirect is CheckRedirect for what is read; what is written is redirected nowhere.
func (s *server) checkRedirect(next *nethttp.Request, via []*nethttp.Request) error {
	if m := via[0].Method; m != nethttp.MethodGet && m != nethttp.MethodHead {
		return nethttp.ErrUseLastResponse
	}
	return CheckRedirect(next, via, s.o.Downgrade)
}

// CheckRedirect limits redirects, and keeps them to http, off plain http unless downgrade
// allows that, and without credentials for other hosts.
func CheckRedirect(next *nethttp.Request, via []*nethttp.Request, downgrade bool) error {
	first := via[0]
	switch {
	case len(via) > maxRedirects:
		return retry.Final(fmt.Errorf("redirected more than %d times", maxRedirects))
	case next.URL.Scheme != "http" && next.URL.Scheme != "https":
		return retry.Final(fmt.Errorf("redirected to %s, which is not http", warehouse.RedactURL(next.URL.String())))
	case first.URL.Scheme == "https" && next.URL.Scheme == "http" && !downgrade:
		return retry.Final(fmt.Errorf("redirected from https to %s; add sha256 to the ware to allow it", warehouse.RedactURL(next.URL.String())))
	}
	if next.URL.Host != first.URL.Host || next.URL.Scheme != first.URL.Scheme {
		next.Header.Del("Authorization")
	}
	return nil
}

// WithoutURL takes off what net/http adds to errors: the method and the whole URL, which
// may hold what is not for everybody.
func WithoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// certificateHint adds to an error what there is to do about a certificate that nobody
// known here has signed.
func certificateHint(err error) error {
	if errors.As(err, new(x509.UnknownAuthorityError)) {
		return fmt.Errorf("%w (say ca_file in config.hcl, if the server's certificate is of an authority of your own)", err)
	}
	return err
}

// A request is what is asked of an object.
type request struct {
	method string
	url    *url.URL
	header map[string]string
	body   *io.SectionReader // nil: none
}

// expectAbove is the size in bytes from which a body waits for the server's consent: a
// smaller one is sent faster than that comes.
const expectAbove = 1 << 20

// send sends r until an answer comes that is a success, whose body the caller closes, or
// that trying again cannot change.
func (s *server) send(ctx context.Context, r request) (*nethttp.Response, error) {
	var resp *nethttp.Response
	err := s.o.Retry.Do(ctx, func() (err error) {
		told := s.auth.told()
		resp, err = s.once(ctx, r)
		if is(err, nethttp.StatusUnauthorized) && !told && s.auth.ask(s.base) {
			resp, err = s.once(ctx, r)
		}
		return err
	})
	return resp, s.explain(err)
}

// explain says of a refusal what may help.
func (s *server) explain(err error) error {
	switch told := s.auth.told(); {
	case is(err, nethttp.StatusUnauthorized) && told:
		return fmt.Errorf("%w; it does not take these credentials", err)
	case is(err, nethttp.StatusForbidden) && told:
		return fmt.Errorf("%w; who has these credentials may not do that", err)
	case is(err, nethttp.StatusUnauthorized, nethttp.StatusForbidden):
		return fmt.Errorf("%w; if it is not for everybody: %s", err, s.login)
	}
	return err
}

func (s *server) once(ctx context.Context, r request) (*nethttp.Response, error) {
	req, err := nethttp.NewRequestWithContext(ctx, r.method, r.url.String(), nil)
	if err != nil {
		return nil, retry.Final(WithoutURL(err))
	}
	req.Header.Set("User-Agent", "kiln")
	for key, value := range r.header {
		req.Header.Set(key, value)
	}
	if r.body != nil {
		SetBody(req, r.body)
		if req.ContentLength > expectAbove {
			req.Header.Set("Expect", "100-continue")
		}
	}
	s.auth.apply(req)
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, certificateHint(WithoutURL(err))
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	drain(resp)
	return nil, retry.Answer(resp, &statusError{resp.StatusCode, resp.Status})
}

// SetBody has a request send body, again too if it must.
func SetBody(req *nethttp.Request, body *io.SectionReader) {
	req.ContentLength = body.Size()
	req.GetBody = func() (io.ReadCloser, error) {
		if body.Size() == 0 {
			return nethttp.NoBody, nil
		}
		return io.NopCloser(io.NewSectionReader(body, 0, body.Size())), nil
	}
	req.Body, _ = req.GetBody()
}

// drain reads what little there is of an answer of no interest, so that the connection
// can be used again, and closes it.
func drain(resp *nethttp.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10)
	resp.Body.Close()
}

// A statusError is an answer that is no success.
type statusError struct {
	code int
	text string
}

func (e *statusError) Error() string {
	return "the server answered " + cmp.Or(e.text, fmt.Sprint(e.code))
}

// is reports whether err is an answer with one of these codes.
func is(err error, codes ...int) bool {
	var status *statusError
	if errors.As(err, &status) {
		for _, code := range codes {
			if status.code == code {
				return true
			}
		}
	}
	return false
}

// missing makes an error that says that an object is not there match ErrMissing.
func missing(u *url.URL, err error) error {
	if is(err, nethttp.StatusNotFound, nethttp.StatusGone) {
		return &warehouse.MissingError{What: warehouse.RedactURL(u.String()), Reason: err}
	}
	return err
}

// auth is who asks.
type auth struct {
	mu                    sync.Mutex
	name, password, token string
	known                 bool
	host                  string // that it is for
}

func (a *auth) init(u *url.URL, o Options) {
	a.host = u.Host
	a.name, a.password, a.token = o.Username, o.Password, o.Token
	if a.name == "" && a.password == "" && a.token == "" && u.User != nil {
		a.name = u.User.Username()
		a.password, _ = u.User.Password()
	}
	a.known = a.name != "" || a.password != "" || a.token != ""
}

// told reports whether requests have credentials.
func (a *auth) told() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.known
}

func (a *auth) apply(req *nethttp.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case !a.known || !strings.EqualFold(req.URL.Host, a.host):
	case a.token != "":
		req.Header.Set("Authorization", "Bearer "+a.token)
	default:
		req.SetBasicAuth(a.name, a.password)
	}
}
