package oci

import (
	"archive/tar"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/oci/ocitest"
	"github.com/kilnbuild/kiln/warehouse"
)

func unpackArchive(t *testing.T, w *warehouse.Local, path, ref string) (warehouse.Record, *Image, error) {
	ctx := context.Background()
	a, err := OpenDockerArchive(ctx, path, t.TempDir())
	if err != nil {
		return warehouse.Record{}, nil, err
	}
	defer a.Close()
	img, err := a.Load(ref, "linux/amd64")
	if err != nil {
		return warehouse.Record{}, nil, err
	}
	rec, err := img.Unpack(ctx, w, pack.BuildOptions{Name: path})
	return rec, img, err
}

// TestDockerArchive reads what skopeo writes, which is what docker save does.
func TestDockerArchive(t *testing.T) {
	w := openLocal(t)
	l := ocitest.NewLayout(t)
	l.Tag("t", l.Image("linux/amd64", nil, ocitest.Layer("file a a", "dir d"), ocitest.Layer("file d/b b", "file .wh.a ")))
	want, _, err := unpack(l, w, "t", "linux/amd64", pack.BuildOptions{})
	must(t, err)
	path := filepath.Join(t.TempDir(), "img.tar")
	ocitest.Run(t, "skopeo", "copy", "-q", "--additional-tag", "other/name:v2", "oci:"+l.Dir+":t", "docker-archive:"+path+":name:v1")
	var id string
	for _, ref := range []string{"", "name:v1", "docker.io/library/name:v1", "other/name:v2"} {
		rec, img, err := unpackArchive(t, w, path, ref)
		if err != nil || rec.ID != want.ID {
			t.Errorf("%q: %s, %v", ref, rec.ID, err)
			continue
		}
		id = img.Digest.String()
		if alias, err := w.Get(img.WareID()); err != nil || alias.Tree != want.ID {
			t.Errorf("its own id: %+v, %v", alias, err)
		}
	}
	if rec, _, err := unpackArchive(t, w, path, id); err != nil || rec.ID != want.ID {
		t.Errorf("by digest: %s, %v", rec.ID, err)
	}
	ocitest.Run(t, "gzip", "-k", path)
	if rec, _, err := unpackArchive(t, w, path+".gz", "name:v1"); err != nil || rec.ID != want.ID {
		t.Errorf("compressed: %s, %v", rec.ID, err)
	}
	for ref, text := range map[string]string{
		"name":                              `it has no image "name"; it has`,
		"x:v1":                              `it has no image "x:v1"; it has`,
		"sha256:" + strings.Repeat("0", 64): "it has no image sha256:0000",
	} {
		if _, _, err := unpackArchive(t, w, path, ref); err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", ref, err)
		}
	}
	for at, text := range map[int64]string{10: "truncated", 700: "truncated"} {
		cut := filepath.Join(t.TempDir(), "cut.tar")
		data, err := os.ReadFile(path)
		must(t, err)
		must(t, os.WriteFile(cut, data[:at], 0o644))
		if _, _, err := unpackArchive(t, w, cut, ""); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("cut at %d: %v", at, err)
		}
	}
}

// TestDockerArchiveByHand has what older dockers wrote, and what nobody should.
func TestDockerArchiveByHand(t *testing.T) {
	content := ocitest.Layer("file a a")
	config := `{"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": ["` + sha256Of(content) + `"]}}`
	for name, test := range map[string]struct {
		entries []tar.Header // of which Linkname of a file is its content
		want    string       // part of the error, or the listing
		fails   bool
	}{
		"a shared layer": {[]tar.Header{
			file("x/layer.tar", string(content)), file("c.json", config),
			{Name: "y/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "../x/layer.tar"},
			{Name: "z", Typeflag: tar.TypeLink, Linkname: "y/layer.tar"},
			file("manifest.json", `[{"Config": "c.json", "Layers": ["z"]}]`)}, "a a", false},
		"a compressed layer": {[]tar.Header{
			file("l", string(ocitest.Gzipped(content))), file("c.json", config), file("manifest.json", `[{"Config": "c.json", "Layers": ["l"]}]`)}, "a a", false},
		"another layer": {[]tar.Header{
			file("l", string(ocitest.Layer("file b b"))), file("c.json", config), file("manifest.json", `[{"Config": "c.json", "Layers": ["l"]}]`)}, "does not match its digest", true},
		"links in a circle": {[]tar.Header{
			{Name: "a", Typeflag: tar.TypeSymlink, Linkname: "b"}, {Name: "b", Typeflag: tar.TypeSymlink, Linkname: "a"},
			file("c.json", config), file("manifest.json", `[{"Config": "c.json", "Layers": ["a"]}]`)}, `it has no file "a"`, true},
		"a file outside": {[]tar.Header{
			file("c.json", config), file("manifest.json", `[{"Config": "c.json", "Layers": ["../../etc/passwd"]}]`)}, "it has no file", true},
		"several":      {[]tar.Header{file("c.json", config), file("l", string(content)), file("manifest.json", `[{"Config": "c.json", "RepoTags": ["a:b"], "Layers": ["l"]}, {"Config": "c.json", "RepoTags": ["c:d"], "Layers": ["l"]}]`)}, "it has 2 images, add a name: a:b, c:d", true},
		"none":         {[]tar.Header{file("manifest.json", `[]`)}, "it has no image", true},
		"no manifest":  {[]tar.Header{file("x", "")}, "it is none: it has no manifest.json", true},
		"bad manifest": {[]tar.Header{file("manifest.json", "{")}, "manifest.json: ", true},
		"no config":    {[]tar.Header{file("manifest.json", `[{"Config": "c.json"}]`)}, `it has no file "c.json"`, true},
		"bad config":   {[]tar.Header{file("c.json", "x"), file("manifest.json", `[{"Config": "c.json"}]`)}, "cannot be read as JSON", true},
		"other":        {[]tar.Header{file("c.json", strings.Replace(config, "amd64", "arm", 1)), file("l", string(content)), file("manifest.json", `[{"Config": "c.json", "Layers": ["l"]}]`)}, "it is for linux/arm and not for linux/amd64", true},
	} {
		t.Run(name, func(t *testing.T) {
			w := openLocal(t)
			path := filepath.Join(t.TempDir(), "img.tar")
			f, err := os.Create(path)
			must(t, err)
			tw := tar.NewWriter(f)
			for _, h := range test.entries {
				content := ""
				if h.Typeflag == tar.TypeReg {
					content, h.Linkname = h.Linkname, ""
				}
				must(t, tw.WriteHeader(&h))
				_, err := tw.Write([]byte(content))
				must(t, err)
			}
			must(t, tw.Close())
			must(t, f.Close())
			rec, _, err := unpackArchive(t, w, path, "")
			switch {
			case test.fails && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v", err)
			case test.fails:
				nothingLeft(t, w)
			case err != nil || listing(t, w.Fileset(rec)) != test.want:
				t.Errorf("%v", err)
			}
		})
	}
}

func file(name, content string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(content)), Linkname: content}
}

func sha256Of(data []byte) string { return digest.FromBytes(data).String() }
