package oci

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/pack/archive"
)

// A DockerArchive is a file of images as docker save writes it.
type DockerArchive struct {
	path   string
	file   *os.File // of the tar stream
	files  map[string]section
	links  map[string]string // by name: the name of the same file
	images []archived
}

// A section is where a file of the archive lies.
type section struct{ offset, size int64 }

// archived is one image in the archive's manifest.json.
type archived struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// maxArchived is how many files an archive may hold: docker writes three a layer.
const maxArchived = 100_000

// OpenDockerArchive reads the table of contents of the archive at path. One that is
// compressed is decompressed into a file in dir first. The caller closes it.
func OpenDockerArchive(ctx context.Context, path, dir string) (*DockerArchive, error) {
	a := &DockerArchive{path: path, files: map[string]section{}, links: map[string]string{}}
	err := a.open(ctx, dir)
	if err == nil {
		err = a.list(ctx)
	}
	if err == nil {
		err = a.manifest()
	}
	if err != nil {
		a.Close()
		return nil, fmt.Errorf("docker archive %s: %w", path, err)
	}
	return a, nil
}

func (a *DockerArchive) open(ctx context.Context, dir string) error {
	f, err := openRegular(a.path)
	if err != nil {
		return err
	}
	a.file = f
	var head [6]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && err != io.EOF {
		return err
	}
	if !archive.Compressed(head[:n]) {
		return nil
	}
	defer f.Close()
	if a.file, err = os.CreateTemp(dir, "docker-archive-*"); err != nil {
		return err
	}
	os.Remove(a.file.Name()) // it lives as long as it is open
	z, stop, err := archive.Decompress(f)
	if err != nil {
		return err
	}
	defer stop()
	n64, err := io.Copy(a.file, io.LimitReader(contextReader{ctx, z}, maxDecompressed+1))
	if err == nil && n64 > maxDecompressed {
		err = fmt.Errorf("it decompresses to more than %d bytes", int64(maxDecompressed))
	}
	return err
}

// maxDecompressed is how large a compressed archive may become: as much as an image
// may unpack to.
const maxDecompressed = 64 << 30

type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// list notes where each file lies.
func (a *DockerArchive) list(ctx context.Context) error {
	if _, err := a.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	tr := tar.NewReader(a.file)
	for n := 0; ; n++ {
		h, err := tr.Next()
		switch {
		case err == io.EOF:
			return nil
		case err == io.ErrUnexpectedEOF:
			return errors.New("it is truncated")
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case n >= maxArchived:
			return fmt.Errorf("it holds more than %d files", maxArchived)
		}
		name := path.Clean("/" + h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			at, err := a.file.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			a.files[name] = section{at, h.Size}
		case tar.TypeSymlink: // docker before 25, for a layer that another image has
			a.links[name] = path.Join(path.Dir(name), h.Linkname)
		case tar.TypeLink:
			a.links[name] = path.Clean("/" + h.Linkname)
		}
	}
}

func (a *DockerArchive) manifest() error {
	if _, has := a.files["/manifest.json"]; !has {
		return errors.New("it is none: it has no manifest.json")
	}
	data, err := a.read("manifest.json", maxManifest)
	if err == nil {
		err = json.Unmarshal(data, &a.images)
	}
	if err != nil {
		return fmt.Errorf("manifest.json: %w", err)
	}
	return nil
}

// find returns where the file called name lies, also where it is a link.
func (a *DockerArchive) find(name string) (section, error) {
	at := path.Clean("/" + name)
	for range 10 {
		if s, is := a.files[at]; is {
			return s, nil
		}
		if at = a.links[at]; at == "" {
			break
		}
	}
	return section{}, fmt.Errorf("it has no file %q", name)
}

func (a *DockerArchive) read(name string, limit int64) ([]byte, error) {
	s, err := a.find(name)
	if err != nil {
		return nil, err
	}
	if s.size > limit {
		return nil, tooLarge(limit)
	}
	data := make([]byte, s.size)
	if _, err := a.file.ReadAt(data, s.offset); err != nil {
		return nil, fmt.Errorf("%s: it is truncated: %w", name, err)
	}
	return data, nil
}

// Load reads the image that ref names: NAME:TAG as docker prints it, or a digest of its
// configuration. With no ref it is the only one there is. It must be for platform.
func (a *DockerArchive) Load(ref, platform string) (*Image, error) {
	img, err := a.load(ref)
	if err == nil {
		err = img.fits(platform)
	}
	if err != nil {
		return nil, fmt.Errorf("docker archive %s: %w", a.path, err)
	}
	return img, nil
}

func (a *DockerArchive) load(ref string) (*Image, error) {
	var tags []string
	for i := range a.images {
		tags = append(tags, a.images[i].RepoTags...)
	}
	want, err := digest.Parse(ref)
	byDigest := err == nil
	for i := range a.images {
		entry := &a.images[i]
		img, err := a.image(entry)
		if err != nil {
			return nil, err
		}
		switch {
		case byDigest && img.Digest == want, ref == "" && len(a.images) == 1:
			return img, nil
		case !byDigest && ref != "" && slices.ContainsFunc(entry.RepoTags, func(tag string) bool { return familiar(tag) == familiar(ref) }):
			return img, nil
		}
	}
	switch {
	case byDigest:
		return nil, fmt.Errorf("it has no image %s any more", want)
	case ref != "" && len(tags) == 0:
		return nil, fmt.Errorf("it has no image %q, and none that has a name", ref)
	case ref != "":
		return nil, fmt.Errorf("it has no image %q; it has %s", ref, some(tags))
	case len(a.images) == 0:
		return nil, errors.New("it has no image")
	}
	return nil, fmt.Errorf("it has %d images, add a name: %s", len(a.images), some(tags))
}

// familiar is a name as docker prints it.
func familiar(ref string) string {
	ref = strings.TrimPrefix(strings.TrimPrefix(ref, "docker.io/"), "library/")
	if !strings.Contains(path.Base(ref), ":") {
		ref += ":latest"
	}
	return ref
}

func (a *DockerArchive) image(entry *archived) (*Image, error) {
	config, err := a.read(entry.Config, maxConfig)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", entry.Config, err)
	}
	img := &Image{Digest: digest.FromBytes(config)}
	if err := img.configure(config, len(entry.Layers)); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", entry.Config, err)
	}
	for i, name := range entry.Layers {
		s, err := a.find(name)
		if err != nil {
			return nil, err
		}
		img.Layers[i].open = func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.NewSectionReader(a.file, s.offset, s.size)), nil
		}
	}
	return img, nil
}

// Close closes the archive. Images loaded from it can be unpacked only before.
func (a *DockerArchive) Close() error {
	if a.file == nil {
		return nil
	}
	return a.file.Close()
}
