// Package stores opens warehouses by URL. It is apart from the kinds of store so that
// only who opens any of them depends on all.
package stores

import (
	"context"
	"fmt"
	nethttp "net/http"
	"net/url"
	"strings"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/file"
	"github.com/kilnbuild/kiln/warehouse/http"
	"github.com/kilnbuild/kiln/warehouse/local"
	"github.com/kilnbuild/kiln/warehouse/oci"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/reapi"
	"github.com/kilnbuild/kiln/warehouse/s3"
)

// Options is how a warehouse is to be reached, as far as its URL does not say. A kind
// of store takes of it what it knows of.
type Options struct {
	Token              string // sent as a bearer token
	Username, Password string // basic authentication
	CAFile             string // PEM; whom to believe instead of the system's authorities
	CertFile, KeyFile  string // PEM; who this client is
	Profile            string // of S3's shared credentials
	Insecure           bool   // plain connections to other machines, and certificates of anybody

	// Transport is for requests over http, in place of one that obeys the proxies
	// of the environment and what is said above of certificates.
	Transport nethttp.RoundTripper
	Retry     retry.Policy // of requests over http
}

// Open opens the warehouse at a URL. It may not connect yet: a warehouse out of reach
// may show only when it is used. Errors and the store's String have no credentials.
func Open(ctx context.Context, rawURL string, o Options) (warehouse.Store, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("open warehouse: its URL is broken: %w", parseError(err))
	}
	s, err := open(ctx, u, rawURL, o)
	if err != nil {
		return nil, fmt.Errorf("open warehouse %s: %w", warehouse.RedactURL(rawURL), err)
	}
	return s, nil
}

func open(ctx context.Context, u *url.URL, rawURL string, o Options) (warehouse.Store, error) {
	switch u.Scheme {
	case "kiln":
		path, err := filePath(u)
		if err != nil {
			return nil, err
		}
		return local.Open(path)
	case "reapi", "grpc", "grpcs":
		return reapi.Open(rawURL, reapi.Options{
			Token: o.Token, Username: o.Username, Password: o.Password,
			CAFile: o.CAFile, CertFile: o.CertFile, KeyFile: o.KeyFile, Insecure: o.Insecure,
		})
	}
	h, err := o.http()
	if err != nil {
		return nil, err
	}
	var objects packed.Objects
	switch strings.TrimPrefix(u.Scheme, "ca+") {
	case "file":
		var path string
		if path, err = filePath(u); err == nil {
			objects, err = file.Open(path)
		}
	case "http", "https":
		objects, err = http.Open(strings.TrimPrefix(rawURL, "ca+"), h)
	case "s3":
		objects, err = s3.Open(ctx, rawURL, s3.Options{
			AccessKey: o.Username, SecretKey: o.Password, Token: o.Token, Profile: o.Profile, Transport: h.Transport, Retry: o.Retry,
		})
	case "oci", "oci+http":
		objects, err = oci.Open(ctx, rawURL, oci.Options{
			Username: o.Username, Password: o.Password, Token: o.Token, Insecure: o.Insecure, Transport: h.Transport, Retry: o.Retry,
		})
	default:
		err = fmt.Errorf("kiln knows no warehouses with URLs that begin with %s://", u.Scheme)
	}
	if err != nil {
		return nil, err
	}
	return packed.New(objects), nil
}
