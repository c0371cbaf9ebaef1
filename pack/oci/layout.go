package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// A Layout is a directory of images, an OCI image layout. It is Blobs.
type Layout struct {
	dir   string
	index v1.Index
}

// OpenLayout reads the index of the layout in dir.
func OpenLayout(dir string) (*Layout, error) {
	l := &Layout{dir: dir}
	data, err := readRegular(filepath.Join(dir, v1.ImageLayoutFile), maxManifest)
	var head v1.ImageLayout
	if err == nil {
		err = json.Unmarshal(data, &head)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, statErr := os.Stat(dir); statErr != nil {
			return nil, statErr
		}
		return nil, fmt.Errorf("%s is no OCI layout: it has no file %s", dir, v1.ImageLayoutFile)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, v1.ImageLayoutFile), err)
	case !strings.HasPrefix(head.Version, "1."):
		return nil, fmt.Errorf("%s is an OCI layout of version %q, and kiln reads version %s", dir, head.Version, v1.ImageLayoutVersion)
	}
	data, err = readRegular(filepath.Join(dir, v1.ImageIndexFile), maxManifest)
	if err == nil {
		err = json.Unmarshal(data, &l.index)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, v1.ImageIndexFile), err)
	}
	return l, nil
}

// Resolve finds what ref, a tag or a digest, names in the layout. With no ref it is the only
// image there is, or the one for the platform.
func (l *Layout) Resolve(ref, platform string) (v1.Descriptor, error) {
	if d, err := digest.Parse(ref); err == nil {
		return v1.Descriptor{Digest: d, Size: -1}, nil
	}
	var tags []string
	var named []v1.Descriptor
	for _, d := range l.index.Manifests {
		tag := d.Annotations[v1.AnnotationRefName]
		if tag == ref && ref != "" {
			named = append(named, d)
		}
		if tag != "" && !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	switch {
	case len(named) > 0:
		return l.one(named, platform)
	case ref != "" && len(tags) == 0:
		return v1.Descriptor{}, fmt.Errorf("the layout has no tag %q, and no others", ref)
	case ref != "":
		return v1.Descriptor{}, fmt.Errorf("the layout has no tag %q; it has %s", ref, some(tags))
	case len(tags) > 1:
		return v1.Descriptor{}, fmt.Errorf("the layout has several images, add a tag: %s", some(tags))
	}
	return l.one(l.index.Manifests, platform)
}

func (l *Layout) one(list []v1.Descriptor, platform string) (v1.Descriptor, error) {
	if len(list) == 1 {
		return list[0], nil
	}
	d, err := choose(&v1.Index{Manifests: list}, platform)
	if err != nil {
		return d, fmt.Errorf("%s: %w", filepath.Join(l.dir, v1.ImageIndexFile), err)
	}
	return d, nil
}

// some lists names, not too many of them.
func some(names []string) string {
	slices.Sort(names)
	if len(names) > 10 {
		return plain(strings.Join(names[:10], ", ")) + fmt.Sprintf(" and %d more", len(names)-10)
	}
	return plain(strings.Join(names, ", "))
}

// Open opens a blob of the layout.
func (l *Layout) Open(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", d.Digest, err)
	}
	f, err := openRegular(filepath.Join(l.dir, v1.ImageBlobsDir, d.Digest.Algorithm().String(), d.Digest.Encoded()))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the layout %s has no blob %s: %w", l.dir, d.Digest, fs.ErrNotExist)
	}
	return f, err
}

// openRegular opens a regular file; it does not wait for a named pipe.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, errors.Join(err, fmt.Errorf("%s is no regular file", path))
	}
	return f, nil
}

func readRegular(path string, limit int64) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = tooLarge(limit)
	}
	return data, err
}
