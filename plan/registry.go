package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/internal/loopback"
	"github.com/kilnbuild/kiln/pack/oci"
)

// maxImageManifest is how many bytes a manifest may have: registries need not take
// more than 4 MiB.
const maxImageManifest = 8 << 20

// A registry fetches from one repository. The credentials are those of docker: its
// configuration, podman's, and the helpers they name.
type registry struct {
	ref     formula.ImageRef
	d       downloader
	offline bool

	mu     sync.Mutex
	client *http.Client // with credentials; nil until the registry has answered
}

// registry returns the client for the repository of ref. Files being fetched are in dir.
func (src *sources) registry(ref formula.ImageRef, dir string) *registry {
	key := ref.Registry + "/" + ref.Repository
	r, _ := src.registries.LoadOrStore(key, &registry{ref: ref, d: src.downloader(dir), offline: src.o.Offline})
	return r.(*registry)
}

// manifest fetches a manifest by its tag or digest; of a digest, want is the same.
func (r *registry) manifest(ctx context.Context, id string, want digest.Digest) (*download, error) {
	d := r.d
	d.max = maxImageManifest
	return r.fetch(ctx, &d, "manifests", id, want, nil)
}

// blob fetches a layer or a configuration.
func (r *registry) blob(ctx context.Context, blob v1.Descriptor, progress progressFunc) (*download, error) {
	d := r.d
	if blob.Size > d.max {
		return nil, fmt.Errorf("%d bytes are more than the limit of %d", blob.Size, d.max)
	}
	if blob.Size >= 0 {
		d.max = blob.Size
	}
	return r.fetch(ctx, &d, "blobs", blob.Digest.String(), blob.Digest, progress)
}

func (r *registry) fetch(ctx context.Context, d *downloader, kind, id string, want digest.Digest, progress progressFunc) (*download, error) {
	if r.offline {
		return nil, unavailableError{errors.New("fetching it needs the network, which --offline forbids")}
	}
	hex := ""
	if want != "" && want.Algorithm() == digest.SHA256 {
		hex = want.Encoded() // what has a sha512 is verified when it is read
	}
	host := r.ref.Registry
	if host == "docker.io" {
		host = name.DefaultRegistry
	}
	// The transport makes http of it where the registry has said so.
	u := &url.URL{Scheme: "https", Host: host, Path: "/v2/" + r.ref.Repository + "/" + kind + "/" + id}
	open := func(ctx context.Context, u *url.URL, verified bool) (io.ReadCloser, int64, error) {
		client, err := r.connect(ctx)
		if err != nil {
			return nil, 0, r.explain(err, kind, id)
		}
		body, size, err := r.get(ctx, client, u, verified)
		return body, size, r.explain(err, kind, id)
	}
	dl, err := d.fetch(ctx, u, open, hex, progress)
	if err != nil && !errors.Is(err, ErrMismatch) && ctx.Err() == nil {
		err = unavailableError{err}
	}
	return dl, err
}

func (r *registry) get(ctx context.Context, client *http.Client, u *url.URL, verified bool) (io.ReadCloser, int64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, 0, finalError{err}
	}
	req.Header.Set("Accept", strings.Join(append(oci.ManifestTypes(), "*/*"), ", "))
	c := *client
	c.CheckRedirect = func(next *http.Request, via []*http.Request) error { return checkRedirect(next, via, verified) }
	resp, err := c.Do(req)
	if err != nil {
		return nil, 0, err
	}
	if err := transport.CheckError(resp, http.StatusOK); err != nil {
		resp.Body.Close()
		return nil, 0, waitFor(resp, err)
	}
	return resp.Body, resp.ContentLength, nil
}

// connect asks the registry how it wants to be talked to, and finds the credentials
// for it. It does so once, if that goes well.
func (r *registry) connect(ctx context.Context) (*http.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != nil {
		return r.client, nil
	}
	var options []name.Option
	if loopback.Is(r.ref.Registry) {
		options = append(options, name.Insecure) // docker too speaks http with this machine
	}
	repo, err := name.NewRepository(r.ref.Registry+"/"+r.ref.Repository, options...)
	if err != nil {
		return nil, finalError{err}
	}
	auth, err := credentials(ctx, repo)
	if err != nil {
		return nil, err
	}
	inner := &plainGuard{registry: repo.RegistryStr(), next: r.d.client.Transport}
	if inner.next == nil {
		inner.next = http.DefaultTransport
	}
	rt, err := transport.NewWithContext(ctx, repo.Registry, auth, inner, []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, err
	}
	r.client = &http.Client{Transport: rt}
	return r.client, nil
}

// credentials looks for those of a repository. A credential helper is a program, which
// may wait for a person: a cancelled ctx does not wait for it.
func credentials(ctx context.Context, repo name.Repository) (authn.Authenticator, error) {
	type answer struct {
		auth authn.Authenticator
		err  error
	}
	found := make(chan answer, 1)
	go func() {
		auth, err := authn.DefaultKeychain.Resolve(repo)
		found <- answer{auth, err}
	}()
	select {
	case a := <-found:
		if a.err != nil {
			return nil, finalError{fmt.Errorf("credentials of docker's configuration: %w", a.err)}
		}
		return a.auth, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// A plainGuard keeps what is not for everybody's eyes off plain http: the registry
// itself, and credentials wherever they are sent to.
type plainGuard struct {
	registry string
	next     http.RoundTripper
}

func (g *plainGuard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "http" && !loopback.Is(req.URL.Host) && (req.URL.Host == g.registry || req.Header.Get("Authorization") != "") {
		return nil, finalError{fmt.Errorf("%s would be spoken to by plain http, which kiln does only on this machine", req.URL.Host)}
	}
	return g.next.RoundTrip(req)
}
