package ocitest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Run runs a tool, or skips the test where it is not installed. It finds nobody's
// credentials in the run-time directory, which may also be there and not to be read.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	if _, err := osexec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
	cmd := osexec.Command(name, args...)
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Layer makes a tar stream, of which each line is one entry:
//
//	dir NAME, file NAME CONTENT, link NAME TARGET, hard NAME TARGET, fifo NAME, char NAME
//
// A mode may follow a name: NAME@4755.
func Layer(lines ...string) []byte {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, line := range lines {
		kind, rest, _ := strings.Cut(line, " ")
		name, arg, _ := strings.Cut(rest, " ")
		name, mode, _ := strings.Cut(name, "@")
		h := &tar.Header{Name: name, Mode: 0o644, Format: tar.FormatPAX}
		for _, c := range mode {
			h.Mode = h.Mode&0o777*8 + int64(c-'0')
		}
		if mode == "" && kind == "dir" {
			h.Mode = 0o755
		}
		switch kind {
		case "dir":
			h.Typeflag = tar.TypeDir
		case "file":
			h.Typeflag, h.Size = tar.TypeReg, int64(len(arg))
		case "link":
			h.Typeflag, h.Linkname = tar.TypeSymlink, arg
		case "hard":
			h.Typeflag, h.Linkname = tar.TypeLink, arg
		case "fifo":
			h.Typeflag = tar.TypeFifo
		case "char":
			h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, 1, 3
		default:
			panic(line)
		}
		err := w.WriteHeader(h)
		if err == nil && kind == "file" {
			_, err = w.Write([]byte(arg))
		}
		if err != nil {
			panic(err)
		}
	}
	w.Close()
	return buf.Bytes()
}

// Gzipped compresses data.
func Gzipped(data []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	w.Write(data)
	w.Close()
	return buf.Bytes()
}

// A Layout is an OCI layout being made by a test.
type Layout struct {
	t     testing.TB
	Dir   string
	Index v1.Index
}

// NewLayout makes a layout without images.
func NewLayout(t testing.TB) *Layout {
	l := &Layout{t: t, Dir: filepath.Join(t.TempDir(), "layout"), Index: v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}}}
	must(t, os.MkdirAll(l.Dir+"/blobs/sha256", 0o755))
	must(t, os.WriteFile(l.Dir+"/oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
	l.Save()
	return l
}

// Blob puts data into the layout.
func (l *Layout) Blob(mediaType string, data []byte) v1.Descriptor {
	d := digest.FromBytes(data)
	must(l.t, os.WriteFile(l.Path(d), data, 0o644))
	return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

// Path is where a blob of the layout lies.
func (l *Layout) Path(d digest.Digest) string { return l.Dir + "/blobs/sha256/" + d.Encoded() }

// JSON puts a document into the layout.
func (l *Layout) JSON(mediaType string, v any) v1.Descriptor {
	data, err := json.Marshal(v)
	must(l.t, err)
	return l.Blob(mediaType, data)
}

// Save writes the layout's index.
func (l *Layout) Save() {
	data, err := json.Marshal(l.Index)
	must(l.t, err)
	must(l.t, os.WriteFile(l.Dir+"/index.json", data, 0o644))
}

// Tag puts d into the layout's index.
func (l *Layout) Tag(tag string, d v1.Descriptor) {
	d.Annotations = map[string]string{v1.AnnotationRefName: tag}
	l.Index.Manifests = append(l.Index.Manifests, d)
	l.Save()
}

// Image makes an image of layers, every other one compressed; change, if not nil, may
// spoil it.
func (l *Layout) Image(platform string, change func(*v1.Manifest, *v1.Image), layers ...[]byte) v1.Descriptor {
	os, arch, _ := strings.Cut(platform, "/")
	config := v1.Image{Platform: v1.Platform{OS: os, Architecture: arch}, RootFS: v1.RootFS{Type: "layers"}}
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	for i, data := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(data))
		if i%2 == 0 {
			m.Layers = append(m.Layers, l.Blob(v1.MediaTypeImageLayerGzip, Gzipped(data)))
		} else {
			m.Layers = append(m.Layers, l.Blob(v1.MediaTypeImageLayer, data))
		}
	}
	if change != nil {
		change(&m, &config)
	}
	if m.Config.Digest == "" {
		m.Config = l.JSON(v1.MediaTypeImageConfig, config)
	}
	d := l.JSON(v1.MediaTypeImageManifest, m)
	d.Platform = &v1.Platform{OS: os, Architecture: arch}
	return d
}

// Multi makes an index of images for several platforms.
func (l *Layout) Multi(images ...v1.Descriptor) v1.Descriptor {
	return l.JSON(v1.MediaTypeImageIndex, v1.Index{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: images,
	})
}
