// Package oci keeps packed wares and memos in a repository of a container registry, each
// as an OCI artifact under a tag of its own. It knows how to move bytes; what they hold
// is package packed's. The artifacts are specified in docs/formats.md, section 19.
package oci

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/kilnbuild/kiln/internal/loopback"
	"github.com/kilnbuild/kiln/internal/registry"
	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/warehouse/packed"
)

// Options says how a registry is reached. The zero value uses what docker uses.
type Options struct {
	// Username and Password, or a Token, in place of those of docker's configuration
	// and its helpers.
	Username, Password string
	Token              string

	Insecure bool // plain http, where the registry does not speak https

	// PieceSize is how many bytes a blob has at most; what is larger is put in pieces. 0:
	// 64 MiB.
	PieceSize int64

	// Transport is for requests; nil: one with the proxies of the environment.
	Transport http.RoundTripper
	Retry     retry.Policy
}

// A Repository is a place in a registry. It implements packed.Objects.
type Repository struct {
	repo  name.Repository
	plain bool // http is allowed
	o     Options
	inner *http.Client // without credentials

	mu      sync.Mutex
	clients map[string]*http.Client // by scope, with credentials
}

var _ packed.Objects = (*Repository)(nil)

// Open returns the repository that oci://REGISTRY/REPOSITORY names, or oci+http://…, which
// allows plain http. It connects to nobody.
func Open(_ context.Context, rawURL string, o Options) (packed.Objects, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("the URL of a registry is broken: %w", err.(*url.Error).Err)
	}
	if u.User != nil {
		return nil, fmt.Errorf("oci://%s%s: credentials do not belong into a URL: use docker login %s, or name them in config.hcl", u.Host, u.Path, u.Host)
	}
	if u.Scheme != "oci" && u.Scheme != "oci+http" || u.Host == "" || strings.Trim(u.Path, "/") == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("a registry as a warehouse has the URL oci://REGISTRY/REPOSITORY")
	}
	r := &Repository{o: o, plain: o.Insecure || u.Scheme == "oci+http" || loopback.Is(u.Host), clients: map[string]*http.Client{}}
	if o.PieceSize == 0 {
		r.o.PieceSize = pieceSize
	}
	var options []name.Option
	if r.plain {
		options = append(options, name.Insecure) // https is tried first
	}
	if r.repo, err = name.NewRepository(u.Host+"/"+strings.Trim(u.Path, "/"), options...); err != nil {
		return nil, fmt.Errorf("%s://%s%s: %w", u.Scheme, u.Host, u.Path, err)
	}
	if o.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.DisableCompression = true // bytes as they are
		t.MaxIdleConnsPerHost = atOnce
		r.o.Transport = t
	}
	inner := http.RoundTripper(&retry.Guard{Next: r.o.Transport})
	if !r.plain {
		inner = registry.PlainGuard{Next: inner, Help: "; if that is as near as to need no encryption, write oci+http://"}
	}
	r.inner = &http.Client{Transport: inner}
	return r, nil
}

// String returns the URL.
func (r *Repository) String() string {
	scheme := "oci://"
	if r.plain && !loopback.Is(r.repo.RegistryStr()) {
		scheme = "oci+http://"
	}
	return scheme + r.repo.RegistryStr() + "/" + r.repo.RepositoryStr()
}

// Close ends idle connections.
func (r *Repository) Close() error {
	r.inner.CloseIdleConnections()
	return nil
}

// atOnce is how many idle connections are kept: as many as package packed asks at once.
const atOnce = 16

// pieceSize is how much of an upload a broken connection costs, at most, in bytes. A
// registry need not let clients go on with half a blob, and docker's does not: it gives an
// upload up of which it has more than its client was told.
const pieceSize = 64 << 20

const maxTag = 128 // of the distribution specification: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}

// tag returns the tag that an object is kept under.
func (r *Repository) tag(object string) (string, error) {
	tag := strings.ReplaceAll(object, ":", "-")
	if len(tag) > maxTag {
		return "", retry.Final(fmt.Errorf("%s: the name %s has %d characters, and a registry's tag at most %d", r, object, len(tag), maxTag))
	}
	return tag, nil
}

// auth returns the credentials for the repository.
func (r *Repository) auth(ctx context.Context) (authn.Authenticator, error) {
	switch {
	case r.o.Token != "":
		return &authn.Bearer{Token: r.o.Token}, nil
	case r.o.Username != "":
		return &authn.Basic{Username: r.o.Username, Password: r.o.Password}, nil
	}
	return registry.Credentials(ctx, r.repo)
}
