package reapi

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"

	"github.com/kilnbuild/kiln/internal/loopback"
	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

// A place is what a URL says.
type place struct {
	scheme   string
	address  string // HOST:PORT
	host     string // as it was written
	instance string
	tls      bool
}

func (p place) String() string {
	u := url.URL{Scheme: p.scheme, Host: p.host, Path: "/" + p.instance}
	return strings.TrimSuffix(u.String(), "/")
}

func parse(rawURL string, o Options) (place, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return place{}, fmt.Errorf("the URL of a REAPI cache is broken: %w", err.(*url.Error).Err)
	}
	p := place{scheme: u.Scheme, host: u.Host, instance: strings.Trim(u.Path, "/")}
	switch {
	case u.User != nil:
		return p, fmt.Errorf("%s: credentials do not belong into a URL: name them in config.hcl", p)
	case u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "":
		return p, fmt.Errorf("%s: a REAPI cache has the URL reapi://HOST:PORT/INSTANCE", p)
	}
	near := loopback.Is(u.Host)
	switch u.Scheme {
	case "reapi":
		p.tls = !near || o.CAFile != "" || o.CertFile != ""
	case "grpcs":
		p.tls = true
	case "grpc":
		if !near && !o.Insecure {
			return p, fmt.Errorf("%s: this would send everything in the clear: use reapi://, or say insecure = true", p)
		}
	default:
		return p, fmt.Errorf("%s: a REAPI cache has a URL that begins with reapi, grpcs or grpc", p)
	}
	port := u.Port()
	switch {
	case port == "" && p.tls:
		port = "443"
	case port == "":
		return p, fmt.Errorf("%s: the port is missing", p)
	}
	p.address = net.JoinHostPort(u.Hostname(), port)
	return p, nil
}

func tlsConfig(o Options) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: o.Insecure}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read authorities: %w", err)
		}
		if c.RootCAs = x509.NewCertPool(); !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("read authorities: %s holds no certificate in PEM", o.CAFile)
		}
	}
	if o.CertFile != "" || o.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("read this client's certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// header is sent with each call.
func header(o Options) http.Header {
	h := http.Header{}
	switch {
	case o.Token != "":
		h.Set("Authorization", "Bearer "+o.Token)
	case o.Username != "" || o.Password != "":
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(o.Username+":"+o.Password)))
	}
	caller := grpc.Marshal(&remote.RequestMetadata{Tool: &remote.ToolDetails{Name: "kiln", Version: o.Version}})
	h.Set(remote.MetadataHeader, base64.RawStdEncoding.EncodeToString(caller))
	return h
}

// credentials reports whether the server is told who asks.
func (o Options) credentials() bool {
	return o.Token != "" || o.Username != "" || o.Password != "" || o.CertFile != ""
}

// hint adds to an error of the first connection what may be wrong with the URL.
func (p place) hint(err error) error {
	var record tls.RecordHeaderError
	var authority x509.UnknownAuthorityError
	var certificate *tls.CertificateVerificationError // expired, or of another host: it says so itself
	var op *net.OpError
	switch {
	case errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect"), errors.Is(err, context.DeadlineExceeded):
		return err // nobody is there, or on the way
	case errors.As(err, &record):
		return fmt.Errorf("%w (the server speaks no TLS there: is it grpc://%s?)", err, p.address)
	case errors.As(err, &authority):
		return fmt.Errorf("%w (say ca_file, if the server's certificate is of an authority of your own)", err)
	case errors.As(err, &certificate):
		return err
	case p.tls:
		return fmt.Errorf("%w (the server ended the connection: maybe it wants a client certificate, cert_file and key_file)", err)
	}
	return fmt.Errorf("%w (no gRPC in plaintext there: is it grpcs://%s?)", err, p.address)
}
