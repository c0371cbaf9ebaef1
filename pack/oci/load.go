package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	maxManifest = 8 << 20  // bytes; registries need not take more than 4 MiB
	maxConfig   = 32 << 20 // bytes; configurations have the history of every layer
	maxNesting  = 4        // indexes in indexes
)

// Docker's own media types, which registries hold beside those of OCI.
const (
	dockerIndex     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerManifest  = "application/vnd.docker.distribution.manifest.v2+json"
	dockerSchema1   = "application/vnd.docker.distribution.manifest.v1+json"
	dockerSchema1JW = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	dockerConfig    = "application/vnd.docker.container.image.v1+json"
	dockerForeign   = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
)

// ManifestTypes are the media types of what Load can begin with.
func ManifestTypes() []string {
	return []string{v1.MediaTypeImageIndex, v1.MediaTypeImageManifest, dockerIndex, dockerManifest}
}

// layerTypes are those of layers; how they are compressed is seen from their content.
var layerTypes = map[string]bool{
	v1.MediaTypeImageLayer: true, v1.MediaTypeImageLayerGzip: true, v1.MediaTypeImageLayerZstd: true,
	"application/vnd.docker.image.rootfs.diff.tar":      true,
	"application/vnd.docker.image.rootfs.diff.tar.gzip": true,
	"application/vnd.docker.image.rootfs.diff.tar.zstd": true,
}

// foreignTypes are those of layers that registries do not hold.
var foreignTypes = map[string]bool{
	dockerForeign: true,
	//nolint:staticcheck // deprecated, and therefore refused
	"application/vnd.oci.image.layer.nondistributable.v1.tar":      true,
	"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": true,
	"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": true,
}

// Load reads the image for a platform, OS/ARCHITECTURE[/VARIANT], that root leads to:
// an index, or a manifest. Of root only the digest must be known; a size that is not
// known is -1.
func Load(ctx context.Context, from Blobs, root v1.Descriptor, platform string) (*Image, error) {
	for range maxNesting {
		m, err := readManifest(ctx, from, root)
		if err != nil {
			return nil, fmt.Errorf("manifest %s: %w", plain(root.Digest.String()), err)
		}
		if m.Manifests == nil {
			img, err := m.image(ctx, from, root.Digest)
			if err == nil {
				err = img.fits(platform)
			}
			if err != nil {
				return nil, fmt.Errorf("manifest %s: %w", plain(root.Digest.String()), err)
			}
			return img, nil
		}
		next, err := choose(&v1.Index{Manifests: m.Manifests}, platform)
		if err != nil {
			return nil, fmt.Errorf("index %s: %w", plain(root.Digest.String()), err)
		}
		root = next
	}
	return nil, fmt.Errorf("index %s: indexes lie in one another more than %d deep", plain(root.Digest.String()), maxNesting)
}

// plain returns s, quoted if it is not what it should be: it comes from afar and goes to
// a terminal.
func plain(s string) string {
	if quoted := strconv.Quote(s); quoted != `"`+s+`"` {
		return quoted
	}
	return s
}

// manifest is any of the documents that lead to an image.
type manifest struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	ArtifactType  string          `json:"artifactType"`
	Config        v1.Descriptor   `json:"config"`
	Layers        []v1.Descriptor `json:"layers"`
	Manifests     []v1.Descriptor `json:"manifests"`
	FSLayers      []any           `json:"fsLayers"` // schema 1
}

func readManifest(ctx context.Context, from Blobs, d v1.Descriptor) (*manifest, error) {
	data, err := readBlob(ctx, from, d, maxManifest)
	if err != nil {
		return nil, err
	}
	var m manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("it cannot be read as JSON: %w", err)
	}
	index := m.MediaType == v1.MediaTypeImageIndex || m.MediaType == dockerIndex || m.MediaType == "" && m.Manifests != nil
	switch {
	case m.MediaType == dockerSchema1, m.MediaType == dockerSchema1JW, m.SchemaVersion == 1, m.FSLayers != nil:
		return nil, errors.New("it is of Docker's schema 1, which does not name its content: pull the image and push it again with a Docker of after 2016")
	case m.MediaType != "" && !knownManifest(m.MediaType):
		return nil, fmt.Errorf("it is a %q, and no image", m.MediaType)
	// A document that one reader takes for an index and another for a manifest
	// has one digest and two contents.
	case index && (m.Layers != nil || m.Config.Digest != ""):
		return nil, errors.New("it is an index and a manifest at once")
	case !index && m.Manifests != nil:
		return nil, errors.New("it is a manifest and an index at once")
	case index && m.Manifests == nil:
		m.Manifests = []v1.Descriptor{}
	}
	return &m, nil
}

func knownManifest(mediaType string) bool {
	for _, known := range ManifestTypes() {
		if mediaType == known {
			return true
		}
	}
	return false
}

// image reads the configuration that m names.
func (m *manifest) image(ctx context.Context, from Blobs, of digest.Digest) (*Image, error) {
	if t := m.Config.MediaType; m.ArtifactType != "" || t != v1.MediaTypeImageConfig && t != dockerConfig {
		what := t
		if m.ArtifactType != "" {
			what = m.ArtifactType
		}
		return nil, fmt.Errorf("it is no image but something else kept in a registry, of type %q", what)
	}
	data, err := readBlob(ctx, from, m.Config, maxConfig)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", plain(m.Config.Digest.String()), err)
	}
	img := &Image{Digest: of}
	if err := img.configure(data, len(m.Layers)); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", plain(m.Config.Digest.String()), err)
	}
	for i, d := range m.Layers {
		if err := checkLayer(d); err != nil {
			return nil, fmt.Errorf("layer %s: %w", plain(d.Digest.String()), err)
		}
		img.Layers[i].Digest, img.Layers[i].Size, img.Layers[i].desc = d.Digest, d.Size, d
		img.Layers[i].open = func(ctx context.Context) (io.ReadCloser, error) { return from.Open(ctx, d) }
	}
	return img, nil
}

// configure takes the configuration in data, of an image of so many layers.
func (img *Image) configure(data []byte, layers int) error {
	if err := json.Unmarshal(data, &img.Config); err != nil {
		return fmt.Errorf("it cannot be read as JSON: %w", err)
	}
	ids := img.Config.RootFS.DiffIDs
	if len(ids) != layers {
		return fmt.Errorf("it speaks of %d layers and the manifest of %d", len(ids), layers)
	}
	img.Layers = make([]Layer, layers)
	for i, id := range ids {
		if err := id.Validate(); err != nil {
			return fmt.Errorf("diff id %q of layer %d: %w", id, i, err)
		}
		img.Layers[i] = Layer{Size: -1, DiffID: id}
	}
	return nil
}

func checkLayer(d v1.Descriptor) error {
	switch {
	case foreignTypes[d.MediaType]:
		return errors.New("it is a foreign layer, which registries do not hold and kiln does not fetch from elsewhere")
	case !layerTypes[d.MediaType]:
		return fmt.Errorf("kiln does not know layers of type %q", d.MediaType)
	case d.Size < 0:
		return fmt.Errorf("its size is given as %d", d.Size)
	}
	return d.Digest.Validate()
}

// fits checks that the image is for the platform, if it says for which one it is.
func (img *Image) fits(platform string) error {
	want, err := parsePlatform(platform)
	if err != nil {
		return err
	}
	got := img.Config.Platform
	if got.OS == "" || got.Architecture == "" {
		return nil
	}
	if want.Variant == "" || got.Variant == "" {
		got.Variant, want.Variant = "", ""
	}
	if !samePlatform(got, want) {
		return fmt.Errorf("it is for %s and not for %s; platform = %q takes it all the same", plain(platformOf(&img.Config.Platform)), platform, platformOf(&img.Config.Platform))
	}
	return nil
}
