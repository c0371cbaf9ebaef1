// Package oci reads container images: from the digest of an index or a manifest to
// the image for a platform, and from its layers to a fileset. It gets blobs from who
// has them: an OCI layout, a docker archive, or package plan, which alone talks to
// registries.
package oci

import (
	"context"
	_ "crypto/sha512" // digests are sha256 or sha512
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// ErrMismatch says that bytes are not those that a digest or a size promised.
var ErrMismatch = errors.New("does not match its digest")

// Blobs is where the blobs of images are: manifests, configurations and layers.
type Blobs interface {
	// Open opens a blob, of which d has at least the digest. Nothing is verified
	// yet. It is called from several goroutines.
	Open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
}

// An Image is an image for one platform. What it was made from is verified; its
// layers are when they are read.
type Image struct {
	// Digest is that of the manifest. A docker archive has none, so there it is
	// that of the configuration, which names the content as well.
	Digest digest.Digest
	Config v1.Image
	Layers []Layer // the lowest first
}

// A Layer is a tar stream of changes, perhaps compressed.
type Layer struct {
	Digest digest.Digest // of the blob; "" in a docker archive
	Size   int64         // of the blob, bytes; -1 in a docker archive
	DiffID digest.Digest // of the tar stream

	desc v1.Descriptor
	open func(context.Context) (io.ReadCloser, error)
}

// Descriptor is how the manifest describes the layer; of a docker archive's it is empty.
func (l *Layer) Descriptor() v1.Descriptor { return l.desc }

// WareID is the id of the image as a ware: oci:sha256-HEX.
func (img *Image) WareID() warehouse.WareID {
	return warehouse.WareID{Packtype: "oci", Hash: img.Digest.Algorithm().String() + "-" + img.Digest.Encoded()}
}

// Meta is what a record keeps of the image's configuration.
func (img *Image) Meta() *warehouse.Image {
	c := img.Config.Config
	return &warehouse.Image{
		Platform: platformOf(&img.Config.Platform), Env: c.Env, Entrypoint: c.Entrypoint, Cmd: c.Cmd,
		User: c.User, WorkingDir: c.WorkingDir, Labels: c.Labels,
	}
}

// DefaultFilters are those of images: as pack.DefaultFilters, but set-id bits and
// devices are left out rather than refused. Nearly every base image has a setuid su,
// which gains nothing in steps since they have no_new_privs; and steps have a /dev of
// their own.
func DefaultFilters() pack.Filters {
	f, err := pack.ParseFilters("setid=ignore,dev=ignore")
	if err != nil {
		panic(err)
	}
	return f.Over(pack.DefaultFilters())
}
