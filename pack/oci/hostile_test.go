package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/oci/ocitest"
	"github.com/kilnbuild/kiln/warehouse"
)

// refused unpacks what tag names in l, and wants the error want and nothing left. What
// lies beside the warehouse must stay as it is.
func refused(t *testing.T, l *ocitest.Layout, o pack.BuildOptions, want string) error {
	t.Helper()
	w := openLocal(t)
	canary := filepath.Join(w.Dir(), "work", "canary")
	must(t, os.WriteFile(canary, []byte("sings"), 0o644))
	o.Name = "img"
	_, _, err := unpack(l, w, "t", "linux/amd64", o)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	if data, err := os.ReadFile(canary); string(data) != "sings" || err != nil {
		t.Errorf("the canary: %q, %v", data, err)
	}
	nothingLeft(t, w)
	return err
}

func nothingLeft(t *testing.T, w *warehouse.Local) {
	t.Helper()
	for _, pattern := range []string{"stage/*/*", "fileset/*/*", "record/*/*"} {
		if left, err := filepath.Glob(filepath.Join(w.Dir(), pattern)); len(left) > 0 || err != nil {
			t.Errorf("left: %v, %v", left, err)
		}
	}
}

// TestHostileLayers has layers that would reach out of the image, or mean nothing.
func TestHostileLayers(t *testing.T) {
	for name, test := range map[string]struct {
		layers [][]string
		want   string
	}{
		"dot dot":                  {[][]string{{"file ../../canary x"}}, `layer 1 of 1, sha256:`},
		"dot dot inside":           {[][]string{{"file a/../b x"}}, `"a/../b": its path has ".." in it`},
		"whiteout of itself":       {[][]string{{"file a x"}, {"file .wh.. "}}, `layer 2 of 2, sha256:`},
		"whiteout of its parent":   {[][]string{{"file a/b x"}, {"file a/.wh... "}}, "a whiteout that names nothing in its directory"},
		"whiteout of nothing":      {[][]string{{"file .wh. "}}, "a whiteout that names nothing in its directory"},
		"through a whiteout":       {[][]string{{"file a/.wh.b/c x"}}, `its path leads through ".wh.b"`},
		"through a file":           {[][]string{{"file a x"}, {"file a/b x"}}, `its path leads through "a", which is no directory`},
		"through a link to file":   {[][]string{{"file a x", "link l a"}, {"file l/b x"}}, `its path leads through "a", which is no directory`},
		"link loop":                {[][]string{{"link a b", "link b a"}, {"file a/x x"}}, "too many symlinks"},
		"hard link outside":        {[][]string{{"hard a ../../canary"}}, `hard link to "../../canary"`},
		"hard link by a symlink":   {[][]string{{"link out ../../../..", "hard a out/work/canary"}}, "the image has no such file"},
		"hard link to nothing":     {[][]string{{"hard a b"}}, `hard link to "b": the image has no such file`},
		"hard link to what went":   {[][]string{{"file b x"}, {"file .wh.b ", "hard a b"}}, "the image has no such file"},
		"hard link to itself":      {[][]string{{"hard a a"}}, "the image has no such file"},
		"hard link to directory":   {[][]string{{"dir d", "hard a d"}}, "the image has no such file"},
		"hard link to a pipe":      {[][]string{{"fifo p", "hard a p"}}, "the image has no such file"},
		"a root that is a file":    {[][]string{{"file . x"}}, "the root of an image can only be a directory"},
		"a root that is a link":    {[][]string{{"link / /etc"}}, "the root of an image can only be a directory"},
		"long name":                {[][]string{{"file " + strings.Repeat("a", 256) + " x"}}, "name too long"},
		"symlinks that multiply":   {multiplying(), "symlinks"},
		"name that is an escape":   {[][]string{{"file \x1b[2J/../x x"}}, `"\x1b[2J/../x"`},
		"set-id by another filter": {[][]string{{"file su@4755 x"}}, "setid=reject"},
	} {
		t.Run(name, func(t *testing.T) {
			l := ocitest.NewLayout(t)
			var layers [][]byte
			for _, lines := range test.layers {
				layers = append(layers, ocitest.Layer(lines...))
			}
			l.Tag("t", l.Image("linux/amd64", nil, layers...))
			filters, err := pack.ParseFilters("setid=reject")
			must(t, err)
			refused(t, l, pack.BuildOptions{Options: pack.Options{Filters: filters}}, test.want)
		})
	}
}

// multiplying are symlinks of which each leads through the one before ten times.
func multiplying() [][]string {
	lines := []string{"dir d"}
	last := "d"
	for _, name := range strings.Split("abcefghi", "") {
		lines = append(lines, "link "+name+" "+strings.Repeat(last+"/../", 10)+last)
		last = name
	}
	return [][]string{lines, {"file " + last + "/x x"}}
}

// TestInside has layers that try to reach out, and reach what is in the image.
func TestInside(t *testing.T) {
	w := openLocal(t)
	l := ocitest.NewLayout(t)
	l.Tag("t", l.Image("linux/amd64", nil,
		ocitest.Layer("link out ../../../..", "link abs /work", "dir work", "file work/canary a", "file keep k"),
		ocitest.Layer("file out/work/.wh.canary ", "file abs/x x", "file out/y y", "hard z out/keep", "file abs/.wh..wh..opq ")))
	canary := filepath.Join(w.Dir(), "work", "canary")
	must(t, os.WriteFile(canary, []byte("sings"), 0o644))
	rec, _, err := unpack(l, w, "t", "linux/amd64", pack.BuildOptions{})
	must(t, err)
	if got := listing(t, w.Fileset(rec)); got != "abs -> /work\nkeep k\nout -> ../../../..\nwork/\nwork/x x\ny y\nz k" {
		t.Errorf("got\n%s", got)
	}
	if data, err := os.ReadFile(canary); string(data) != "sings" || err != nil {
		t.Errorf("the canary: %q, %v", data, err)
	}
}

func TestLimits(t *testing.T) {
	l := ocitest.NewLayout(t)
	large := ocitest.Layer("file a "+strings.Repeat("a", 1000), "file b "+strings.Repeat("b", 1000))
	l.Tag("t", l.Image("linux/amd64", nil, large, ocitest.Layer("file c c")))
	refused(t, l, pack.BuildOptions{MaxBytes: 1999}, "more than the 1999 allowed")
	refused(t, l, pack.BuildOptions{MaxEntries: 2}, "")
	// What is replaced counts as entries read all the same, not as bytes kept.
	l = ocitest.NewLayout(t)
	l.Tag("t", l.Image("linux/amd64", nil, large, large, large))
	refused(t, l, pack.BuildOptions{MaxEntries: 5}, "more entries than the 5 allowed")
	_, _, err := unpack(l, openLocal(t), "t", "linux/amd64", pack.BuildOptions{MaxBytes: 2000, MaxEntries: 6})
	must(t, err)
	// A stream that is too long is not read to its end.
	s := &layerStream{ctx: context.Background(), limit: 1000, layer: &Layer{Size: -1, open: nil}}
	s.tar = newHashed(strings.NewReader(strings.Repeat("a", 2000)), "")
	if _, err := s.Read(make([]byte, 1500)); err == nil || !strings.Contains(err.Error(), "more than 1000 bytes") {
		t.Errorf("a long stream: %v", err)
	}
	// A bomb: a file that is one large hole.
	dir := t.TempDir()
	f, err := os.Create(dir + "/hole")
	must(t, err)
	must(t, errors.Join(f.Truncate(pack.RatioFloor+1<<20), f.Close()))
	ocitest.Run(t, "tar", "-C", dir, "-cSf", dir+"/bomb.tar", "hole")
	bomb, err := os.ReadFile(dir + "/bomb.tar")
	must(t, err)
	l = ocitest.NewLayout(t)
	l.Tag("t", l.Image("linux/amd64", nil, bomb))
	refused(t, l, pack.BuildOptions{}, "times")
}

func TestCancelled(t *testing.T) {
	l := ocitest.NewLayout(t)
	l.Tag("t", l.Image("linux/amd64", nil, ocitest.Layer("file a a"), ocitest.Layer("file b b")))
	layout, err := OpenLayout(l.Dir)
	must(t, err)
	root, err := layout.Resolve("t", "linux/amd64")
	must(t, err)
	img, err := Load(context.Background(), layout, root, "linux/amd64")
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	w := openLocal(t)
	if _, err := img.Unpack(ctx, w, pack.BuildOptions{}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	nothingLeft(t, w)
}

// TestDamaged has images of which a blob is not what its digest says, or a document
// does not mean an image.
func TestDamaged(t *testing.T) {
	content := ocitest.Layer("file a "+strings.Repeat("abc", 5000), "file b b")
	other := digest.FromString("other")
	flip := func(l *ocitest.Layout, d digest.Digest, at int) {
		data, err := os.ReadFile(l.Path(d))
		must(t, err)
		data[(at+len(data))%len(data)] ^= 0x10
		must(t, os.WriteFile(l.Path(d), data, 0o644))
	}
	type change = func(*v1.Manifest, *v1.Image)
	for name, test := range map[string]struct {
		change change
		spoil  func(l *ocitest.Layout, m v1.Manifest, d v1.Descriptor) // after it is in the layout
		want   string
	}{
		"layer, a bit at the front":  {nil, func(l *ocitest.Layout, m v1.Manifest, _ v1.Descriptor) { flip(l, m.Layers[0].Digest, 0) }, "does not match its digest: its bytes have sha256:"},
		"layer, a bit in the middle": {nil, func(l *ocitest.Layout, m v1.Manifest, _ v1.Descriptor) { flip(l, m.Layers[0].Digest, 40) }, "does not match its digest: its bytes have sha256:"},
		"layer, a bit at the end":    {nil, func(l *ocitest.Layout, m v1.Manifest, _ v1.Descriptor) { flip(l, m.Layers[0].Digest, -1) }, "does not match its digest: its bytes have sha256:"},
		"plain layer, a bit":         {nil, func(l *ocitest.Layout, m v1.Manifest, _ v1.Descriptor) { flip(l, m.Layers[1].Digest, 600) }, "does not match its digest: its bytes have sha256:"},
		"layer, cut": {nil, func(l *ocitest.Layout, m v1.Manifest, _ v1.Descriptor) {
			must(t, os.Truncate(l.Path(m.Layers[0].Digest), 100))
		}, "it ends after 100 of"},
		"plain layer, cut": {nil, func(l *ocitest.Layout, m v1.Manifest, _ v1.Descriptor) {
			must(t, os.Truncate(l.Path(m.Layers[1].Digest), 700))
		}, "it ends after 700 of"},
		"layer, empty": {nil, func(l *ocitest.Layout, m v1.Manifest, _ v1.Descriptor) {
			must(t, os.Truncate(l.Path(m.Layers[0].Digest), 0))
		}, "it ends after 0 of"},
		"layer, longer":          {func(m *v1.Manifest, _ *v1.Image) { m.Layers[0].Size-- }, nil, "more bytes than the"},
		"layer, shorter":         {func(m *v1.Manifest, _ *v1.Image) { m.Layers[0].Size++ }, nil, "it ends after"},
		"layer, a negative size": {func(m *v1.Manifest, _ *v1.Image) { m.Layers[0].Size = -1 }, nil, "its size is given as -1"},
		"layer, gone": {nil, func(l *ocitest.Layout, m v1.Manifest, _ v1.Descriptor) {
			must(t, os.Remove(l.Path(m.Layers[1].Digest)))
		}, "has no blob"},
		"layer, a pipe":            {nil, func(l *ocitest.Layout, m v1.Manifest, _ v1.Descriptor) { pipe(t, l.Path(m.Layers[1].Digest)) }, "no regular file"},
		"layer, an odd digest":     {func(m *v1.Manifest, _ *v1.Image) { m.Layers[0].Digest = "sha256:../../etc/passwd" }, nil, "invalid checksum digest"},
		"layer, an unknown digest": {func(m *v1.Manifest, _ *v1.Image) { m.Layers[0].Digest = "md5:d41d8cd98f00b204e9800998ecf8427e" }, nil, "unsupported digest algorithm"},
		"another diff id":          {func(_ *v1.Manifest, c *v1.Image) { c.RootFS.DiffIDs[0] = other }, nil, "the image's configuration says that it unpacks to " + other.String()},
		"an odd diff id":           {func(_ *v1.Manifest, c *v1.Image) { c.RootFS.DiffIDs[0] = "x" }, nil, "diff id"},
		"too few diff ids":         {func(_ *v1.Manifest, c *v1.Image) { c.RootFS.DiffIDs = c.RootFS.DiffIDs[:1] }, nil, "it speaks of 1 layers and the manifest of 2"},
		"configuration, a bit":     {nil, func(l *ocitest.Layout, m v1.Manifest, _ v1.Descriptor) { flip(l, m.Config.Digest, 5) }, "does not match its digest"},
		"configuration, another size": {func(m *v1.Manifest, _ *v1.Image) {
			m.Config = v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.FromString("{}"), Size: 3}
		}, func(l *ocitest.Layout, _ v1.Manifest, _ v1.Descriptor) { l.Blob("", []byte("{}")) }, "it has 2 bytes and should have 3"},
		"configuration, no JSON": {func(m *v1.Manifest, _ *v1.Image) {
			m.Config = v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.FromString("no"), Size: 2}
		}, func(l *ocitest.Layout, _ v1.Manifest, _ v1.Descriptor) { l.Blob("", []byte("no")) }, "cannot be read as JSON"},
		"configuration, huge": {func(m *v1.Manifest, _ *v1.Image) {
			m.Config = v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: other, Size: 1 << 40}
		}, nil, "larger than 32 MiB"},
		"manifest, a bit": {nil, func(l *ocitest.Layout, _ v1.Manifest, d v1.Descriptor) { flip(l, d.Digest, 7) }, "does not match its digest"},
		"foreign layer":   {func(m *v1.Manifest, _ *v1.Image) { m.Layers[1].MediaType = dockerForeign }, nil, "it is a foreign layer"},
		"encrypted layer": {func(m *v1.Manifest, _ *v1.Image) { m.Layers[1].MediaType = v1.MediaTypeImageLayer + "+encrypted" }, nil, "kiln does not know layers of type"},
		"artifact":        {func(m *v1.Manifest, _ *v1.Image) { m.ArtifactType = "application/spdx+json" }, nil, `something else kept in a registry, of type "application/spdx+json"`},
		"artifact by its config": {func(m *v1.Manifest, _ *v1.Image) {
			m.Config = v1.Descriptor{MediaType: "application/vnd.cncf.helm.config.v1+json", Digest: other, Size: 2}
		}, nil, "helm"},
	} {
		t.Run(name, func(t *testing.T) {
			l := ocitest.NewLayout(t)
			var m v1.Manifest
			d := l.Image("linux/amd64", func(got *v1.Manifest, c *v1.Image) {
				if test.change != nil {
					test.change(got, c)
				}
				if got.Config.Digest == "" {
					got.Config = l.JSON(v1.MediaTypeImageConfig, c)
				}
				m = *got
			}, content, content)
			l.Tag("t", d)
			if test.spoil != nil {
				test.spoil(l, m, d)
			}
			refused(t, l, pack.BuildOptions{}, test.want)
		})
	}
}

func TestDocuments(t *testing.T) {
	zeros := strings.Repeat("0", 64)
	for text, want := range map[string]string{
		`{"schemaVersion": 1, "fsLayers": [{"blobSum": "x"}]}`:                                                                              "Docker's schema 1",
		`{"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v1+prettyjws"}`:                                    "Docker's schema 1",
		`{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [], "layers": []}`:                       "it is an index and a manifest at once",
		`{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "manifests": []}`:                                  "it is a manifest and an index at once",
		`{"schemaVersion": 2, "mediaType": "text/html"}`:                                                                                    `it is a "text/html", and no image`,
		`{"schemaVersion": 2, "manifests": []}`:                                                                                             "it is an index that lists no image",
		`{"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json"}`:                                                      "it is an index that lists no image",
		`{"schemaVersion": 2, "manifests": [{"digest": "sha256:` + zeros + `", "platform": {"os": "linux", "architecture": "arm"}}]}`:       "it has no image for linux/amd64; it has linux/arm",
		`{"schemaVersion": 2, "manifests": [{"digest": "sha256:` + zeros + `"}, {"digest": "sha256:` + zeros + `"}]}`:                       "an index of 2 images that do not say",
		`{"schemaVersion": 2, "manifests": [{"digest": "sha256:` + zeros + `", "platform": {"os": "unknown", "architecture": "unknown"}}]}`: "it is an index that lists no image",
		`{"schemaVersion": 2, "manifests": [{"digest": "sha256:../../x"}]}`:                                                                 "invalid checksum digest",
		`{"schemaVersion": 2, "manifests": [{"digest": "sha256:` + zeros + `", "size": 9999999999}]}`:                                       "larger than 8 MiB",
		`[]`:   "cannot be read as JSON",
		`{}`:   "of type \"\"",
		`null`: "of type \"\"",
		``:     "cannot be read as JSON",
	} {
		l := ocitest.NewLayout(t)
		l.Tag("t", l.Blob(v1.MediaTypeImageManifest, []byte(text)))
		refused(t, l, pack.BuildOptions{}, want)
	}
	// Indexes in indexes, and a manifest that is too large to be read.
	l := ocitest.NewLayout(t)
	d := l.Image("linux/amd64", nil)
	for range 3 {
		d = l.JSON(v1.MediaTypeImageIndex, v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []v1.Descriptor{d}})
	}
	l.Tag("t", d)
	_, _, err := unpack(l, openLocal(t), "t", "linux/amd64", pack.BuildOptions{})
	must(t, err)
	d = l.JSON(v1.MediaTypeImageIndex, v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, Manifests: []v1.Descriptor{d}})
	l.Index.Manifests = nil
	l.Tag("t", d)
	refused(t, l, pack.BuildOptions{}, "more than 4 deep")
	l.Index.Manifests = nil
	l.Tag("t", l.Blob("", []byte(`{"schemaVersion": 2, "x": "`+strings.Repeat("x", maxManifest)+`"}`)))
	refused(t, l, pack.BuildOptions{}, "larger than 8 MiB")
}

// TestDeepAndMany has names of 4,000 components, and more whiteouts than could each look
// at all there is.
func TestDeepAndMany(t *testing.T) {
	deep := strings.Repeat("d/", 4000)
	upper := []string{"file " + deep + "g g", "file " + deep + ".wh.f "}
	for i := range 1000 {
		upper = append(upper, fmt.Sprintf("file many/%d x", i), "file many/.wh..wh..opq ", "file .wh.many ")
	}
	l := ocitest.NewLayout(t)
	l.Tag("t", l.Image("linux/amd64", nil, ocitest.Layer("file "+deep+"f f", "file many/old x"), ocitest.Layer(upper...)))
	w := openLocal(t)
	rec, _, err := unpack(l, w, "t", "linux/amd64", pack.BuildOptions{})
	must(t, err)
	if rec.Entries != 1+4000+1+1+1000 {
		t.Errorf("%d entries", rec.Entries)
	}
	must(t, pack.Check(t.Context(), w, rec.ID))
}
