package plan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/oci"
	"github.com/kilnbuild/kiln/warehouse"
)

// pinnedOCI reports whether a source names an image that no update can move.
func pinnedOCI(s formula.Source) bool {
	if s.Kind != formula.SourceOCI {
		return false
	}
	ref, err := formula.ParseImageRef(s.OCI)
	return err == nil && (ref.Digest != "" || isDigest(ref.Name))
}

func isDigest(text string) bool {
	_, err := digest.Parse(text)
	return err == nil
}

// wholeDigests reports whether the digests of a lock file's entry are such.
func wholeDigests(asked, manifest string) bool {
	return isDigest(asked) && (manifest == "" || isDigest(manifest))
}

// imagePlace is the same text for references to the same image.
func imagePlace(w *formula.Ware) string {
	ref, err := formula.ParseImageRef(w.Source.OCI)
	switch {
	case err != nil:
		return w.Source.OCI
	case ref.Layout != "":
		return "oci-layout:" + hostPath(ref.Layout, w.Dir) + ":" + ref.Name
	case ref.Archive != "":
		return "docker-archive:" + hostPath(ref.Archive, w.Dir) + ":" + ref.Name
	}
	return fmt.Sprintf("%s/%s:%s@%s", ref.Registry, ref.Repository, ref.Tag, ref.Digest)
}

// ociEntry is the lock file's entry for an image, without what it resolves to.
func ociEntry(s formula.Source) LockEntry {
	return LockEntry{
		OCI: s.OCI, Platform: cmp.Or(s.Platform, oci.HostPlatform()),
		Include: joinPatterns(s.Include), Exclude: joinPatterns(s.Exclude), Filters: s.Filters,
	}
}

// fetchOCI brings w's image into the warehouse: the one that digest names, of an index
// or a manifest, or if that is "" the one that w's reference names now.
func (src *sources) fetchOCI(ctx context.Context, w *formula.Ware, digest string) (LockEntry, error) {
	e := ociEntry(w.Source)
	img, err := src.openImage(ctx, w, digest, e.Platform)
	if err != nil {
		src.end(w.Addr, PhaseFetch, err)
		return e, imageError(w, err)
	}
	defer img.close()
	rec, err := src.unpackImage(ctx, w, img)
	if errors.Is(err, oci.ErrMismatch) && img.forget() {
		rec, err = src.unpackImage(ctx, w, img) // what the cache held was damaged on disk
	}
	if err != nil {
		return e, imageError(w, err)
	}
	e.Digest, e.ID = img.asked.String(), rec.ID
	if img.Digest != img.asked {
		e.Manifest = img.Digest.String()
	}
	return e, src.prove(w, e)
}

// unpackImage puts w's image into the warehouse. Each layer is unpacked as soon as it
// is there, while the next ones are fetched.
func (src *sources) unpackImage(ctx context.Context, w *formula.Ware, img *openedImage) (warehouse.Record, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var there atomic.Bool // until then the progress is that of fetching
	fetched := make(chan error, 1)
	wait := img.fetch(ctx, src.report(w.Addr, PhaseFetch))
	go func() {
		err := wait()
		src.end(w.Addr, PhaseFetch, err)
		there.Store(true)
		fetched <- err
	}()
	progress := src.report(w.Addr, PhaseUnpack)
	rec, err := img.Unpack(ctx, src.o.Warehouse, src.packs.imageOptions(w, progress.after(&there)))
	if err != nil {
		cancel()
	}
	if fetchErr := <-fetched; fetchErr != nil && !errors.Is(fetchErr, context.Canceled) {
		return rec, fetchErr // which is why it could not be unpacked
	}
	src.end(w.Addr, PhaseUnpack, err)
	return rec, err
}

// imageError says which image err is about, and of what kind it is.
func imageError(w *formula.Ware, err error) error {
	err = fmt.Errorf("image %s: %w", w.Source.OCI, err)
	switch {
	case errors.Is(err, oci.ErrMismatch):
		return mismatchError{err}
	case errors.Is(err, fs.ErrNotExist):
		return unavailableError{err}
	}
	return err
}

// An openedImage is an image whose layers can be fetched and unpacked.
type openedImage struct {
	*oci.Image
	asked digest.Digest // what the reference named, an index or a manifest
	blobs *imageBlobs   // of a registry; nil for what is on this machine
	close func()
}

// fetch begins to fetch the layers. The function it returns waits for them.
func (img *openedImage) fetch(ctx context.Context, progress progressFunc) func() error {
	if img.blobs == nil {
		return func() error { return nil }
	}
	return img.blobs.start(ctx, img.Layers, progress)
}

// forget removes the image from the cache, and reports whether it was there.
func (img *openedImage) forget() bool {
	if img.blobs == nil {
		return false
	}
	for i := range img.Layers {
		img.blobs.forget(img.Layers[i].Digest)
	}
	return true
}

// openImage finds the image that digest names, or if that is "" w's reference.
func (src *sources) openImage(ctx context.Context, w *formula.Ware, name, platform string) (*openedImage, error) {
	ref, err := formula.ParseImageRef(w.Source.OCI)
	if err != nil {
		return nil, err
	}
	switch {
	case ref.Layout != "":
		return openLayout(ctx, hostPath(ref.Layout, w.Dir), cmp.Or(name, ref.Name), platform)
	case ref.Archive != "":
		return src.openArchive(ctx, hostPath(ref.Archive, w.Dir), cmp.Or(name, ref.Name), platform)
	}
	return src.openRemote(ctx, ref, cmp.Or(name, ref.Digest), platform)
}

func openLayout(ctx context.Context, dir, name, platform string) (*openedImage, error) {
	layout, err := oci.OpenLayout(dir)
	if err != nil {
		return nil, err
	}
	root, err := layout.Resolve(name, platform)
	if err != nil {
		return nil, err
	}
	img, err := oci.Load(ctx, layout, root, platform)
	if err != nil {
		return nil, err
	}
	return &openedImage{Image: img, asked: root.Digest, close: func() {}}, nil
}

func (src *sources) openArchive(ctx context.Context, path, name, platform string) (*openedImage, error) {
	dir := filepath.Join(src.o.CacheDir, "download")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	archive, err := oci.OpenDockerArchive(ctx, path, dir)
	if err != nil {
		return nil, err
	}
	img, err := archive.Load(name, platform)
	if err != nil {
		archive.Close()
		return nil, err
	}
	return &openedImage{Image: img, asked: img.Digest, close: func() { archive.Close() }}, nil
}

// openRemote opens an image of a registry. What the cache has is not asked for.
func (src *sources) openRemote(ctx context.Context, ref formula.ImageRef, name, platform string) (*openedImage, error) {
	blobs := &imageBlobs{dir: filepath.Join(src.o.CacheDir, "image"), registry: src.registry(ref)}
	if err := os.MkdirAll(blobs.dir, 0o700); err != nil {
		return nil, err
	}
	root := v1.Descriptor{Digest: digest.Digest(name), Size: -1}
	if name == "" {
		var err error
		if root, err = blobs.resolve(ctx, ref.Tag); err != nil {
			return nil, err
		}
	}
	img, err := oci.Load(ctx, blobs, root, platform)
	if err != nil {
		return nil, err
	}
	return &openedImage{Image: img, asked: root.Digest, blobs: blobs, close: func() {}}, nil
}

func (p *packer) imageOptions(w *formula.Ware, progress progressFunc) pack.BuildOptions {
	filters, _ := pack.ParseFilters(w.Source.Filters) // checked when the formula was read
	return pack.BuildOptions{
		Options: pack.Options{Filters: filters, Include: w.Source.Include, Exclude: w.Source.Exclude, Progress: progress.entries()},
		Name:    w.Source.OCI, MaxBytes: p.o.MaxDownload,
	}
}
