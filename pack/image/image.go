// Package image makes container images of wares and writes them to OCI layouts,
// docker archives and registries. An image's digest follows from what it is made of:
// no time, no machine and no number of cores is in it. Package pack/oci reads images.
package image

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/warehouse"
)

// A Spec says what an image is made of.
type Spec struct {
	Layers   []Layer // the lowest first
	Platform string  // "linux/amd64", "linux/arm/v7"
	Config   v1.ImageConfig
}

// A Layer is a ware in an image.
type Layer struct {
	Ware warehouse.WareID
	Path string // where in the image it lies; absolute, clean. A ware that is one file lies there itself
	Root bool   // all of it belongs to 0:0, as in a step, whatever owners the ware was packed with
}

// An Image is an image made of wares; its layers lie compressed in the cache.
type Image struct {
	Digest   digest.Digest // of Manifest
	Manifest []byte
	Config   []byte
	manifest v1.Manifest
	platform v1.Platform
	layers   map[digest.Digest]*blob
}

// created is the time that images and default wares have: 2010-01-01.
var created = time.Unix(1262304000, 0).UTC()

// Make makes an image of wares in the local warehouse. Layers that were made before
// are taken from cacheDir, others are made and kept there. The error matches
// pack.ErrCorrupt if a ware was changed on disk.
func Make(ctx context.Context, l *warehouse.Local, cacheDir string, s Spec) (*Image, error) {
	img, err := build(ctx, l, cacheDir, s)
	if err != nil {
		return nil, fmt.Errorf("make image: %w", err)
	}
	return img, nil
}

func build(ctx context.Context, l *warehouse.Local, cacheDir string, s Spec) (*Image, error) {
	platform, err := parsePlatform(s.Platform)
	if err != nil {
		return nil, err
	}
	layers, err := openLayers(ctx, l, s.Layers)
	if err != nil {
		return nil, err
	}
	config := v1.Image{
		Created: &created, Platform: platform, Config: s.Config,
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{}},
	}
	img := &Image{platform: platform, layers: map[digest.Digest]*blob{}}
	img.manifest = v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Layers: []v1.Descriptor{}}
	for _, layer := range layers {
		b, err := layer.blob(cacheDir)
		if err != nil {
			return nil, fmt.Errorf("layer of %s at %s: %w", layer.Ware, layer.Path, err)
		}
		img.layers[b.Digest] = b
		img.manifest.Layers = append(img.manifest.Layers, v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: b.Digest, Size: b.Size})
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, b.DiffID)
		config.History = append(config.History, v1.History{Created: &created, CreatedBy: fmt.Sprintf("kiln %s at %s", layer.Ware, layer.Path)})
	}
	if img.Config, err = json.Marshal(config); err != nil {
		return nil, err
	}
	img.manifest.Config = v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.FromBytes(img.Config), Size: int64(len(img.Config))}
	if img.Manifest, err = json.Marshal(img.manifest); err != nil {
		return nil, err
	}
	img.Digest = digest.FromBytes(img.Manifest)
	return img, nil
}

// WareID is the id of the image as a ware.
func (img *Image) WareID() warehouse.WareID {
	return warehouse.WareID{Packtype: "oci", Hash: img.Digest.Algorithm().String() + "-" + img.Digest.Encoded()}
}

// descriptor describes the manifest, for an index.
func (img *Image) descriptor() v1.Descriptor {
	return v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: img.Digest, Size: int64(len(img.Manifest)), Platform: &img.platform}
}

// blobs are all that belongs to the image, the manifest last.
func (img *Image) blobs() []v1.Descriptor {
	var list []v1.Descriptor
	for _, d := range append(slices.Clone(img.manifest.Layers), img.manifest.Config, img.descriptor()) {
		if !slices.ContainsFunc(list, func(o v1.Descriptor) bool { return o.Digest == d.Digest }) {
			list = append(list, d)
		}
	}
	return list
}

// open opens one of blobs.
func (img *Image) open(d digest.Digest) (io.ReadCloser, error) {
	switch d {
	case img.Digest:
		return io.NopCloser(strings.NewReader(string(img.Manifest))), nil
	case img.manifest.Config.Digest:
		return io.NopCloser(strings.NewReader(string(img.Config))), nil
	}
	b, ok := img.layers[d]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", d, os.ErrNotExist)
	}
	return b.open()
}

func parsePlatform(s string) (v1.Platform, error) {
	parts := strings.Split(s, "/")
	if len(parts) < 2 || len(parts) > 3 || slices.Contains(parts, "") {
		return v1.Platform{}, fmt.Errorf("platform %q: want OS/ARCHITECTURE, such as linux/arm64", s)
	}
	p := v1.Platform{OS: parts[0], Architecture: parts[1]}
	if len(parts) == 3 {
		p.Variant = parts[2]
	}
	return p, nil
}
