package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	gv1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/kilnbuild/kiln/internal/loopback"
	"github.com/kilnbuild/kiln/internal/registry"
	"github.com/kilnbuild/kiln/internal/retry"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// CheckReference reports whether ref, REGISTRY/REPOSITORY[:TAG], can name an image that
// is pushed. What is missing is as for docker: docker.io, latest.
func CheckReference(ref string) error {
	_, err := parseReference(ref)
	return err
}

func parseReference(ref string) (name.Tag, error) {
	if strings.Contains(ref, "@") {
		return name.Tag{}, fmt.Errorf("%q names an image by its digest, which cannot be chosen: name a tag", ref)
	}
	host, _, _ := strings.Cut(ref, "/")
	var options []name.Option
	if loopback.Is(host) {
		options = append(options, name.Insecure) // tries https first
	}
	tag, err := name.NewTag(ref, options...)
	if err != nil {
		return tag, fmt.Errorf("%q is no REGISTRY/REPOSITORY:TAG: %w", ref, err)
	}
	return tag, nil
}

// ArchiveName returns the name of an image in a docker archive, NAME:TAG, with the tag
// latest if it has none.
func ArchiveName(ref string) (string, error) {
	tag, err := parseReference(ref)
	if err != nil {
		return "", err
	}
	if strings.HasSuffix(ref, ":"+tag.TagStr()) {
		return ref, nil
	}
	return ref + ":" + tag.TagStr(), nil
}

// Push uploads the image to a registry as ref, REGISTRY/REPOSITORY[:TAG]. What the registry has is
// not sent again. Credentials are those that docker login keeps, or the helpers it
// names. It speaks plain http with this machine alone. progress, which may be nil, is
// told how many bytes have been sent, one call at a time.
func (img *Image) Push(ctx context.Context, ref string, progress func(int64)) error {
	tag, err := parseReference(ref)
	if err != nil {
		return fmt.Errorf("push: %w", err)
	}
	core, err := partial.CompressedToImage(&pushed{Image: img, progress: progress})
	if err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- retry.Policy{}.Do(ctx, func() error {
			err := remote.Write(tag, core,
				remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithUserAgent("kiln"),
				remote.WithTransport(registry.PlainGuard{Next: remote.DefaultTransport}))
			if registry.BlobGone(err) {
				return err
			}
			return retry.Final(err) // all else it has tried again by itself
		})
	}()
	select {
	case err = <-ended:
		return explain(tag, err)
	case <-ctx.Done():
		return ctx.Err() // a credential helper may wait for a person
	}
}

// explain says what a registry's answer means.
func explain(tag name.Tag, err error) error {
	var answer *transport.Error
	if err == nil {
		return nil
	}
	if errors.As(err, &answer) && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden) {
		return fmt.Errorf("push %s: the registry answered %d %s: log in with docker login %s, as someone who may write there",
			tag, answer.StatusCode, http.StatusText(answer.StatusCode), tag.RegistryStr())
	}
	return fmt.Errorf("push %s: %w", tag, err)
}

// pushed is an Image as go-containerregistry sees one.
type pushed struct {
	*Image
	progress func(int64)

	mu   sync.Mutex // layers are sent side by side; progress is told one at a time
	sent int64
}

// tell tells progress of n more bytes.
func (p *pushed) tell(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sent += int64(n)
	p.progress(p.sent)
}

func (p *pushed) RawConfigFile() ([]byte, error)      { return p.Config, nil }
func (p *pushed) RawManifest() ([]byte, error)        { return p.Manifest, nil }
func (p *pushed) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

func (p *pushed) LayerByDigest(h gv1.Hash) (partial.CompressedLayer, error) {
	for _, d := range p.manifest.Layers {
		if d.Digest.String() == h.String() {
			return &pushedLayer{p, d}, nil
		}
	}
	return nil, fmt.Errorf("the image has no layer %s", h)
}

type pushedLayer struct {
	of *pushed
	d  v1.Descriptor
}

func (l *pushedLayer) Digest() (gv1.Hash, error) { return gv1.NewHash(l.d.Digest.String()) }
func (l *pushedLayer) Size() (int64, error)      { return l.d.Size, nil }
func (l *pushedLayer) MediaType() (types.MediaType, error) {
	return types.MediaType(l.d.MediaType), nil
}

func (l *pushedLayer) Compressed() (io.ReadCloser, error) {
	r, err := l.of.open(l.d.Digest)
	if err != nil || l.of.progress == nil {
		return r, err
	}
	return &countedReader{r, l.of}, nil
}

type countedReader struct {
	io.ReadCloser
	of *pushed
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.of.tell(n)
	return n, err
}
