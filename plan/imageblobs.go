package plan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/pack/oci"
)

// layersAtOnce is how many layers of one image are fetched at once: as docker, beyond
// which registries begin to ask for patience.
const layersAtOnce = 3

// imageBlobs are the blobs of a repository, kept in the cache by their digests, so
// that an update fetches what is new and several images share their base. They are
// verified when they are read: a damaged file is fetched again.
type imageBlobs struct {
	dir      string // of the cache
	registry *registry
	pending  map[digest.Digest]*pending // set by start
}

// path is where a blob is kept.
func (b *imageBlobs) path(d digest.Digest) string {
	return filepath.Join(b.dir, d.Algorithm().String()+"-"+d.Encoded())
}

// Open opens a blob, fetching it if need be.
func (b *imageBlobs) Open(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", d.Digest, err)
	}
	if err := b.wait(ctx, d.Digest); err != nil {
		return nil, err
	}
	f, err := os.Open(b.path(d.Digest))
	if err == nil && !b.isWhole(f, d) {
		f.Close()
		b.forget(d.Digest)
		err = fs.ErrNotExist
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := b.fetch(ctx, d, nil); err != nil {
		return nil, err
	}
	return os.Open(b.path(d.Digest))
}

// isWhole tells a file that a power cut left short. Manifests are small enough to be
// read for it: nobody would notice before they are used.
func (b *imageBlobs) isWhole(f *os.File, d v1.Descriptor) bool {
	info, err := f.Stat()
	if err != nil || d.Size >= 0 && info.Size() != d.Size {
		return false
	}
	if info.Size() > maxImageManifest {
		return true
	}
	verifier := d.Digest.Verifier()
	if _, err := io.Copy(verifier, f); err != nil || !verifier.Verified() {
		return false
	}
	_, err = f.Seek(0, io.SeekStart)
	return err == nil
}

func (b *imageBlobs) has(d v1.Descriptor) bool {
	info, err := os.Stat(b.path(d.Digest))
	return err == nil && (d.Size < 0 || info.Size() == d.Size)
}

func (b *imageBlobs) forget(d digest.Digest) { os.Remove(b.path(d)) }

// fetch brings a blob into the cache.
func (b *imageBlobs) fetch(ctx context.Context, d v1.Descriptor, progress progressFunc) error {
	keep := func(dl *download) error { return b.keep(dl, d.Digest) }
	if isManifest(d) {
		return b.registry.manifest(ctx, d.Digest.String(), d.Digest, keep)
	}
	return b.registry.blob(ctx, d, progress, func() bool { return b.has(d) }, keep)
}

// keep puts what was fetched into its place. Another kiln may have done so meanwhile:
// the bytes are the same.
func (b *imageBlobs) keep(dl *download, d digest.Digest) error {
	return os.Rename(dl.file.Name(), b.path(d))
}

// resolve asks the registry what a tag names, and keeps it.
func (b *imageBlobs) resolve(ctx context.Context, tag string) (d v1.Descriptor, err error) {
	err = b.registry.manifest(ctx, tag, "", func(dl *download) error {
		info, err := dl.file.Stat()
		if err != nil {
			return err
		}
		d = v1.Descriptor{Digest: digest.NewDigestFromEncoded(digest.SHA256, dl.sha256), Size: info.Size()}
		return b.keep(dl, d.Digest)
	})
	return d, err
}

// isManifest tells what registries give as a manifest from what they give as a blob.
// Of what is named by a digest alone nothing else is known.
func isManifest(d v1.Descriptor) bool {
	return d.MediaType == "" || slices.Contains(oci.ManifestTypes(), d.MediaType)
}

// A pending blob is being fetched.
type pending struct {
	done chan struct{}
	err  error
}

// start begins to fetch the layers that the cache lacks, some at a time, the lowest
// first. Open waits for them. The function it returns waits for all.
func (b *imageBlobs) start(ctx context.Context, layers []oci.Layer, progress progressFunc) func() error {
	var missing []v1.Descriptor
	sum := &sumProgress{to: progress}
	b.pending = map[digest.Digest]*pending{}
	for i := range layers {
		d := layers[i].Descriptor()
		if b.pending[d.Digest] == nil && !b.has(d) {
			b.pending[d.Digest] = &pending{done: make(chan struct{})}
			missing = append(missing, d)
			sum.total += d.Size
		}
	}
	sum.done = make([]int64, len(missing))
	ended := make(chan error, 1)
	go func() {
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(layersAtOnce)
		for i, d := range missing {
			p := b.pending[d.Digest]
			g.Go(func() error {
				defer close(p.done)
				if err := b.fetch(ctx, d, sum.of(i)); err != nil {
					p.err = fmt.Errorf("layer %s: %w", d.Digest, err)
				}
				return p.err
			})
		}
		ended <- g.Wait()
	}()
	return func() error { return <-ended }
}

// wait waits for a blob that is being fetched.
func (b *imageBlobs) wait(ctx context.Context, d digest.Digest) error {
	p := b.pending[d]
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// sumProgress makes one progress out of those of several downloads.
type sumProgress struct {
	to    progressFunc
	total int64
	mu    sync.Mutex
	done  []int64
}

func (s *sumProgress) of(i int) progressFunc {
	if s.to == nil {
		return nil
	}
	return func(done, _ int64) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.done[i] = done
		var all int64
		for _, n := range s.done {
			all += n
		}
		s.to(all, s.total)
	}
}
