package serve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/internal/loopback"
)

// access is whom the server lets in, and how it proves who it is. It never changes:
// Reload replaces it.
type access struct {
	tokens   []token
	tls      *tls.Config
	readOnly bool
}

func readAccess(o Options) (*access, error) {
	a := &access{readOnly: o.ReadOnly}
	var err error
	if o.Tokens != "" {
		if a.tokens, err = readTokens(o.Tokens); err != nil {
			return nil, err
		}
	}
	if o.Cert != "" {
		a.tls, err = readTLS(o)
	}
	return a, err
}

// ends returns until when the server's certificate is good; zero without one.
func (a *access) ends() time.Time {
	if a.tls == nil || a.tls.Certificates[0].Leaf == nil {
		return time.Time{}
	}
	return a.tls.Certificates[0].Leaf.NotAfter
}

func readTLS(o Options) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(o.Cert, o.Key)
	if err != nil {
		return nil, fmt.Errorf("read the server's certificate: %w", err)
	}
	c := &tls.Config{
		Certificates: []tls.Certificate{pair},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},
	}
	if o.ClientCA == "" {
		return c, nil
	}
	pem, err := os.ReadFile(o.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("read the clients' authorities: %w", err)
	}
	c.ClientCAs = x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("read the clients' authorities: %s holds no certificate in PEM form", o.ClientCA)
	}
	c.ClientAuth = tls.RequireAndVerifyClientCert
	return c, nil
}

// A client is who sent a request.
type client struct {
	name string
	role Role
}

type clientKey struct{}

// from returns who sent the request that ctx is of.
func from(ctx context.Context) client {
	c, _ := ctx.Value(clientKey{}).(client)
	return c
}

var (
	errNoToken    = errors.New("this server wants a token: send Authorization: Bearer TOKEN, or the token as the password of a URL")
	errWrongToken = errors.New("this server does not know that token")
	errRebound    = errors.New("this server listens on this machine alone, and was asked under the name of another; with tokens it may have any name")
)

// identify tells who sent a request. Who is let in without a token may do all that the
// server allows; a certificate was checked when the connection was made.
func (s *Server) identify(r *http.Request) (client, error) {
	a := s.access.Load()
	c := client{role: Writer}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		c.name = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	switch {
	case a.tokens != nil:
		secret, ok := secretOf(r)
		if !ok {
			return client{}, errNoToken
		}
		t, ok := find(a.tokens, secret)
		if !ok {
			return client{}, errWrongToken
		}
		c = client{t.name, t.role}
	case s.loop && r.TLS == nil && !loopback.Is(r.Host):
		// A page in somebody's browser could ask, under a name that it lets lead here.
		return client{}, errRebound
	}
	if a.readOnly {
		c.role = min(c.role, Reader)
	}
	return c, nil
}

// secretOf returns the token that a request has: Bearer, or a password.
func secretOf(r *http.Request) (string, bool) {
	if _, password, ok := r.BasicAuth(); ok {
		return password, true
	}
	scheme, secret, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(secret), ok && strings.EqualFold(scheme, "Bearer")
}
