package plan

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/internal/loopback"
	registryclient "github.com/kilnbuild/kiln/internal/registry"
	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/pack/oci"
	warehousehttp "github.com/kilnbuild/kiln/warehouse/http"
	"github.com/kilnbuild/kiln/warehouse/packed"
)

// maxImageManifest is how many bytes a manifest may have: registries need not take
// more than 4 MiB.
const maxImageManifest = 8 << 20

// A registry fetches from one repository. The credentials are those of docker: its
// configuration, podman's, and the helpers they name.
type registry struct {
	ref          formula.ImageRef
	d            downloader
	turns        *turns
	offline      bool
	mirrors      []*registry // tried first for what has a digest
	wrongMirrors []error     // of those that are none
	tell         func(error) // warns of what a mirror did
	down         atomic.Bool // a mirror: it has failed, and is left out

	mu     sync.Mutex
	client *http.Client // with credentials; nil until the registry has answered
}

// registry returns the client for the repository of ref.
func (src *sources) registry(ref formula.ImageRef) *registry {
	key := ref.Registry + "/" + ref.Repository
	r := &registry{ref: ref, d: src.downloader(), turns: &src.turns, offline: src.o.Offline}
	for _, at := range src.mirrorsOf("oci://"+key, true) {
		mirror, err := formula.ParseImageRef(strings.TrimPrefix(at, "oci://"))
		if err != nil {
			r.wrongMirrors = append(r.wrongMirrors, fmt.Errorf("%s: %w", redactURL(at), err))
			continue
		}
		r.tell = func(err error) { src.warnMirror(nil, err) }
		r.mirrors = append(r.mirrors, &registry{ref: mirror, d: r.d, offline: r.offline})
	}
	known, _ := src.registries.LoadOrStore(key, r)
	return known.(*registry)
}

// manifest fetches a manifest by its tag or digest; of a digest, want is the same.
func (r *registry) manifest(ctx context.Context, id string, want digest.Digest, use func(*download) error) error {
	d := r.d
	d.max = maxImageManifest
	return r.fetch(ctx, &d, "manifests", id, want, nil, use)
}

// blob fetches a layer or a configuration, unless another process does that and have is
// true then.
func (r *registry) blob(ctx context.Context, blob v1.Descriptor, progress progressFunc, have func() bool, use func(*download) error) error {
	d := r.d
	d.have = func(string) bool { return have() }
	if blob.Size > d.max {
		return fmt.Errorf("%d bytes are more than the limit of %d", blob.Size, d.max)
	}
	if blob.Size > 0 {
		d.max = blob.Size
	}
	return r.fetch(ctx, &d, "blobs", blob.Digest.String(), blob.Digest, progress, use)
}

// fetch fetches something by its tag or digest and calls use with it. The error matches
// ErrUnavailable or ErrMismatch unless it is use's. A mirror is asked for what has a
// digest, which tells what it has to give.
func (r *registry) fetch(ctx context.Context, d *downloader, kind, id string, want digest.Digest, progress progressFunc, use func(*download) error) error {
	var places []string
	var at []*registry
	for _, mirror := range append(slices.Clip(r.mirrors), r) {
		if mirror == r || want != "" && want.Algorithm() == digest.SHA256 && !mirror.down.Load() {
			places = append(places, "oci://"+mirror.ref.Registry)
			at = append(at, mirror)
		}
	}
	own := len(at) - 1
	failures, used, err := r.turns.take(ctx, places, func(ctx context.Context, i int) (used bool, err error) {
		err = at[i].fetchOwn(ctx, d, kind, id, want, progress, func(dl *download) error {
			used = true
			return use(dl)
		})
		if err == nil || used || ctx.Err() != nil || i == own {
			return used || err == nil, err
		}
		if errors.Is(err, ErrMismatch) {
			err = fmt.Errorf("registry %s, repository %s: %w", at[i].ref.Registry, at[i].ref.Repository, err)
		}
		if !retry.Later(err) { // which comes last by itself
			at[i].down.Store(true)
		}
		r.tell(err)
		return false, err
	})
	if used || ctx.Err() != nil {
		return err
	}
	return withMirrors(failures[own], append(slices.Clip(r.wrongMirrors), failures[:own]...))
}

// fetchOwn is fetch without mirrors.
func (r *registry) fetchOwn(ctx context.Context, d *downloader, kind, id string, want digest.Digest, progress progressFunc, use func(*download) error) error {
	if r.offline {
		return unavailableError{errors.New("fetching it needs the network, which --offline forbids")}
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
	f := packed.Fetch{
		Open: func(ctx context.Context, offset int64, _ string) (o *packed.Object, err error) {
			err = d.retry.Do(ctx, func() error {
				o, err = r.open(ctx, u, offset, hex != "")
				return r.explain(err, kind, id)
			})
			if err == nil {
				o.Version = want.String() // what has a digest does not change
			}
			return o, err
		},
		From: u.String(), Key: "image " + u.String(), Progress: progress,
	}
	if want != "" {
		f.Key = "image " + want.String()
	}
	err := d.fetch(ctx, f, hex, use)
	var used *useError
	switch {
	case errors.As(err, &used):
		return used.error
	case err != nil && !errors.Is(err, ErrMismatch) && ctx.Err() == nil:
		return unavailableError{err}
	}
	return err
}

// open begins to read what is at u.
func (r *registry) open(ctx context.Context, u *url.URL, offset int64, verified bool) (*packed.Object, error) {
	client, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, retry.Final(err)
	}
	req.Header.Set("Accept", strings.Join(append(oci.ManifestTypes(), "*/*"), ", "))
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	c := *client
	c.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		return warehousehttp.CheckRedirect(next, via, verified)
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	if err := transport.CheckError(resp, http.StatusOK, http.StatusPartialContent); err != nil {
		resp.Body.Close()
		return nil, retry.Answer(resp, err)
	}
	o, err := warehousehttp.ObjectOf(resp, offset)
	if err != nil {
		resp.Body.Close()
		return nil, retry.Final(err)
	}
	return o, nil
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
		return nil, retry.Final(err)
	}
	auth, err := registryclient.Credentials(ctx, repo)
	if err != nil {
		return nil, err
	}
	inner := &plainGuard{registry: repo.RegistryStr(), next: &retry.Guard{Next: r.d.transport}}
	if r.d.transport == nil {
		inner.next = &retry.Guard{Next: newTransport()}
	}
	rt, err := transport.NewWithContext(ctx, repo.Registry, auth, inner, []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, err
	}
	r.client = &http.Client{Transport: rt}
	return r.client, nil
}

// A plainGuard keeps what is not for everybody's eyes off plain http: the registry
// itself, and credentials wherever they are sent to.
type plainGuard struct {
	registry string
	next     http.RoundTripper
}

func (g *plainGuard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme == "http" && !loopback.Is(req.URL.Host) && (req.URL.Host == g.registry || req.Header.Get("Authorization") != "") {
		return nil, retry.Final(fmt.Errorf("%s would be spoken to by plain http, which kiln does only on this machine", req.URL.Host))
	}
	return g.next.RoundTrip(req)
}
