package oci

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openLocal(t testing.TB) *warehouse.Local {
	t.Helper()
	dir := t.TempDir()
	l, err := warehouse.OpenLocal(filepath.Join(dir, "warehouse"))
	must(t, err)
	t.Cleanup(func() {
		l.Close()
		must(t, warehouse.RemoveTree(dir))
	})
	return l
}

// run runs a tool, or skips the test where it is not installed.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	if _, err := osexec.LookPath(name); err != nil {
		t.Skipf("%s is not installed", name)
	}
	cmd := osexec.Command(name, args...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// An item is one entry of a layer, in a line of its own:
//
//	dir NAME, file NAME CONTENT, link NAME TARGET, hard NAME TARGET, fifo NAME, char NAME
//
// A mode may follow a name: NAME@4755.
func layer(lines ...string) []byte {
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

func gzipped(data []byte) []byte {
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	w.Write(data)
	w.Close()
	return buf.Bytes()
}

func zstded(data []byte) []byte {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return w.EncodeAll(data, nil)
}

// A layout is an OCI layout being made by a test.
type layoutDir struct {
	t     testing.TB
	dir   string
	index v1.Index
}

func newLayout(t testing.TB) *layoutDir {
	l := &layoutDir{t: t, dir: filepath.Join(t.TempDir(), "layout"), index: v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}}}
	must(t, os.MkdirAll(l.dir+"/blobs/sha256", 0o755))
	must(t, os.WriteFile(l.dir+"/oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
	l.save()
	return l
}

func (l *layoutDir) blob(mediaType string, data []byte) v1.Descriptor {
	d := digest.FromBytes(data)
	must(l.t, os.WriteFile(l.path(d), data, 0o644))
	return v1.Descriptor{MediaType: mediaType, Digest: d, Size: int64(len(data))}
}

func (l *layoutDir) path(d digest.Digest) string { return l.dir + "/blobs/sha256/" + d.Encoded() }

func (l *layoutDir) json(mediaType string, v any) v1.Descriptor {
	data, err := json.Marshal(v)
	must(l.t, err)
	return l.blob(mediaType, data)
}

func (l *layoutDir) save() {
	data, err := json.Marshal(l.index)
	must(l.t, err)
	must(l.t, os.WriteFile(l.dir+"/index.json", data, 0o644))
}

// tag puts d into the layout's index.
func (l *layoutDir) tag(tag string, d v1.Descriptor) {
	d.Annotations = map[string]string{v1.AnnotationRefName: tag}
	l.index.Manifests = append(l.index.Manifests, d)
	l.save()
}

// image makes an image of layers, every other one compressed; change, if not nil, may
// spoil it.
func (l *layoutDir) image(platform string, change func(*v1.Manifest, *v1.Image), layers ...[]byte) v1.Descriptor {
	os, arch, _ := strings.Cut(platform, "/")
	config := v1.Image{Platform: v1.Platform{OS: os, Architecture: arch}, RootFS: v1.RootFS{Type: "layers"}}
	m := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest}
	for i, data := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(data))
		if i%2 == 0 {
			m.Layers = append(m.Layers, l.blob(v1.MediaTypeImageLayerGzip, gzipped(data)))
		} else {
			m.Layers = append(m.Layers, l.blob(v1.MediaTypeImageLayer, data))
		}
	}
	if change != nil {
		change(&m, &config)
	}
	if m.Config.Digest == "" {
		m.Config = l.json(v1.MediaTypeImageConfig, config)
	}
	d := l.json(v1.MediaTypeImageManifest, m)
	d.Platform = &v1.Platform{OS: os, Architecture: arch}
	return d
}

// unpack unpacks what ref names in the layout.
func (l *layoutDir) unpack(w *warehouse.Local, ref, platform string, o pack.BuildOptions) (warehouse.Record, *Image, error) {
	ctx := context.Background()
	layout, err := OpenLayout(l.dir)
	if err != nil {
		return warehouse.Record{}, nil, err
	}
	d, err := layout.Resolve(ref, platform)
	if err != nil {
		return warehouse.Record{}, nil, err
	}
	img, err := Load(ctx, layout, d, platform)
	if err != nil {
		return warehouse.Record{}, nil, err
	}
	rec, err := img.Unpack(ctx, w, o)
	return rec, img, err
}

// listing says what is in a fileset, a line for each entry but the root.
func listing(t testing.TB, dir string) string {
	t.Helper()
	var lines []string
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		switch info, err := d.Info(); {
		case err != nil:
			return err
		case d.IsDir():
			lines = append(lines, name+"/")
		case info.Mode()&os.ModeSymlink != 0:
			target, err := os.Readlink(path)
			lines = append(lines, name+" -> "+target)
			return err
		case !info.Mode().IsRegular():
			lines = append(lines, name+" ?")
		default:
			data, err := os.ReadFile(path)
			lines = append(lines, name+" "+string(data))
			return err
		}
		return nil
	}))
	return strings.Join(lines, "\n")
}
