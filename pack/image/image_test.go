package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

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

// ware makes a ware of entries, files holding their own path.
func ware(t testing.TB, l *warehouse.Local, entries ...pack.Entry) warehouse.WareID {
	t.Helper()
	f, err := pack.ParseFilters("uid=keep,gid=keep,mtime=keep,setid=keep")
	must(t, err)
	b, err := pack.NewBuilder(context.Background(), l, pack.BuildOptions{Options: pack.Options{Filters: f}})
	must(t, err)
	defer b.Close()
	for _, e := range entries {
		e.Sec = created.Unix()
		if e.Kind == pack.KindFile && e.Size == 0 {
			e.Size = int64(len(e.Path))
		}
		must(t, b.Add(&e, io.LimitReader(strings.NewReader(strings.Repeat(e.Path, int(e.Size)/len(e.Path)+1)), e.Size)))
	}
	rec, err := b.Commit()
	must(t, err)
	return rec.ID
}

func fileWare(t testing.TB, l *warehouse.Local, content string) warehouse.WareID {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(path, []byte(content), 0o755))
	must(t, os.Chmod(path, 0o755))
	rec, err := pack.Ingest(context.Background(), l, path, pack.Options{})
	must(t, err)
	return rec.ID
}

func dir(path string) pack.Entry  { return pack.Entry{Path: path, Kind: pack.KindDir, Mode: 0o755} }
func file(path string) pack.Entry { return pack.Entry{Path: path, Kind: pack.KindFile, Mode: 0o644} }

func sample(t testing.TB, l *warehouse.Local) Spec {
	base := ware(t, l, dir("etc"), file("etc/os-release"), dir("usr"), dir("usr/bin"),
		pack.Entry{Path: "bin", Kind: pack.KindSymlink, Link: "usr/bin"},
		pack.Entry{Path: "home/me", Kind: pack.KindDir, Mode: 0o700, UID: 1000, GID: 1000},
		pack.Entry{Path: "large", Kind: pack.KindFile, Mode: 0o600, Size: 3 << 20})
	app := ware(t, l, dir("bin"), file("bin/app"), file("new\nline"))
	return Spec{
		Platform: "linux/amd64",
		Layers: []Layer{
			{Ware: base, Path: "/"}, {Ware: app, Path: "/opt/my/app"}, {Ware: app, Path: "/usr/local"},
			{Ware: fileWare(t, l, "#!/bin/sh\n"), Path: "/usr/bin/start"},
		},
		Config: v1.ImageConfig{
			Entrypoint: []string{"/usr/bin/start"}, Cmd: []string{"-v"}, Env: []string{"A=b"}, User: "1000:1000",
			Labels: map[string]string{"z": "1", "a": "<2>"}, WorkingDir: "/home/me",
			ExposedPorts: map[string]struct{}{"80/tcp": {}},
		},
	}
}

func makeImage(t testing.TB, l *warehouse.Local, s Spec) *Image {
	t.Helper()
	img, err := Make(context.Background(), l, filepath.Join(t.TempDir(), "cache"), s)
	must(t, err)
	return img
}

// names lists the entries of an image's layer.
func names(t *testing.T, img *Image, i int) string {
	t.Helper()
	r, err := img.open(img.manifest.Layers[i].Digest)
	must(t, err)
	defer r.Close()
	z, err := gzip.NewReader(r)
	must(t, err)
	var out []string
	for tr := tar.NewReader(z); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		out = append(out, fmt.Sprintf("%s %o %d", h.Name, h.Mode, h.Uid))
	}
	return strings.Join(out, "\n")
}

// TestDigest pins the digest of an image: the same on every machine.
func TestDigest(t *testing.T) {
	const want = "oci:sha256-efeb27d0e064f27734ead8ebd22837b2db52da87faf4a5c2b47cc10378a8fa0a"
	for _, cores := range []int{1, 2, 5} {
		before := runtime.GOMAXPROCS(cores)
		l := openLocal(t)
		s := sample(t, l)
		img := makeImage(t, l, s)
		runtime.GOMAXPROCS(before)
		if got := img.WareID().String(); got != want {
			t.Errorf("on %d cores: %s", cores, got)
		}
	}
}

func TestLayers(t *testing.T) {
	l := openLocal(t)
	img := makeImage(t, l, sample(t, l))
	for i, want := range []string{
		"./ 755 0\nbin 777 0\netc/ 755 0\netc/os-release 644 0\nhome/ 755 0\nhome/me/ 700 1000\nlarge 600 0\nusr/ 755 0\nusr/bin/ 755 0",
		"opt/ 755 0\nopt/my/ 755 0\nopt/my/app/ 755 0\nopt/my/app/bin/ 755 0\nopt/my/app/bin/app 644 0\nopt/my/app/new\nline 644 0",
		"usr/local/ 755 0\nusr/local/bin/ 755 0\nusr/local/bin/app 644 0\nusr/local/new\nline 644 0",
		"usr/bin/start 755 0",
	} {
		if got := names(t, img, i); got != want {
			t.Errorf("layer %d has\n%s\nand should have\n%s", i, got, want)
		}
	}
}

func TestRefused(t *testing.T) {
	l := openLocal(t)
	one := fileWare(t, l, "x")
	merged := ware(t, l, pack.Entry{Path: "lib", Kind: pack.KindSymlink, Link: "usr/lib"}, dir("usr/lib"))
	for want, layers := range map[string][]Layer{
		"it has no layers":                     nil,
		"needs a path in the image":            {{Ware: one, Path: "/"}},
		`/lib is a symlink to "usr/lib"`:       {{Ware: merged, Path: "/"}, {Ware: one, Path: "/lib/x"}},
		`at /lib: /lib is a symlink`:           {{Ware: merged, Path: "/"}, {Ware: merged, Path: "/lib"}},
		`at /x/lib/y: /x/lib is a symlink`:     {{Ware: merged, Path: "/x"}, {Ware: merged, Path: "/x/lib/y"}},
		`"a/.wh.x": its name begins with .wh.`: {{Ware: ware(t, l, file("a/.wh.x")), Path: "/"}},
		"ware tree:0-0: not in the warehouse":  {{Ware: warehouse.WareID{Packtype: "tree", Hash: "0-0"}, Path: "/"}},
	} {
		_, err := Make(context.Background(), l, t.TempDir(), Spec{Platform: "linux/amd64", Layers: layers})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	if _, err := Make(context.Background(), l, t.TempDir(), Spec{Platform: "linux", Layers: []Layer{{Ware: one, Path: "/x"}}}); err == nil {
		t.Error("a platform that is none was taken")
	}
	// A file replaces a symlink, as anywhere.
	_, err := Make(context.Background(), l, t.TempDir(), Spec{Platform: "linux/amd64", Layers: []Layer{{Ware: merged, Path: "/"}, {Ware: one, Path: "/lib"}}})
	must(t, err)
}

// TestCache makes an image twice, and once with a damaged cache.
func TestCache(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	s := sample(t, l)
	cache := filepath.Join(t.TempDir(), "cache")
	img, err := Make(ctx, l, cache, s)
	must(t, err)
	before, err := filepath.Glob(cache + "/*")
	must(t, err)
	if len(before) != 2*len(s.Layers) {
		t.Errorf("the cache has %v", before)
	}
	// Nothing is read again: the wares could be gone.
	must(t, os.WriteFile(filepath.Join(l.Dir(), "fileset/tree", s.Layers[0].Ware.Hash, "large"), nil, 0o600))
	again, err := Make(ctx, l, cache, s)
	must(t, err)
	if again.Digest != img.Digest {
		t.Errorf("it was %s, and now is %s", img.Digest, again.Digest)
	}
	must(t, os.RemoveAll(cache))
	if _, err := Make(ctx, l, cache, s); !errors.Is(err, pack.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
	if left, _ := filepath.Glob(cache + "/*"); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestCacheDamaged(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	s := sample(t, l)
	cache := filepath.Join(t.TempDir(), "cache")
	img, err := Make(ctx, l, cache, s)
	must(t, err)
	path := img.layers[img.manifest.Layers[1].Digest].path
	data, err := os.ReadFile(path)
	must(t, err)
	data[len(data)/2] ^= 1
	must(t, os.WriteFile(path, data, 0o600))
	out := filepath.Join(t.TempDir(), "layout")
	if err := img.WriteLayout(ctx, out, ""); err == nil || !strings.Contains(err.Error(), "the layer cache is damaged") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Lstat(out); err == nil {
		t.Error("a layout was left")
	}
	img, err = Make(ctx, l, cache, s) // it has healed
	must(t, err)
	must(t, img.WriteLayout(ctx, out, ""))
	must(t, os.WriteFile(path, data[:10], 0o600))
	img, err = Make(ctx, l, cache, s)
	must(t, err)
	must(t, img.WriteDockerArchive(ctx, io.Discard, ""))
}

// TestLayoutAdds adds to a layout that holds what kiln did not write.
func TestLayoutAdds(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	img := makeImage(t, l, sample(t, l))
	other := makeImage(t, l, Spec{Platform: "linux/arm64", Layers: sample(t, l).Layers[:1]})
	out := filepath.Join(t.TempDir(), "layout")
	index := func() string {
		data, err := os.ReadFile(out + "/index.json")
		must(t, err)
		var i v1.Index
		must(t, json.Unmarshal(data, &i))
		var list []string
		for _, m := range i.Manifests {
			name := map[string]string{img.Digest.String(): "img", other.Digest.String(): "other"}[m.Digest.String()]
			list = append(list, name+":"+m.Annotations[v1.AnnotationRefName])
		}
		return strings.Join(list, " ") + " " + string(i.Annotations["kept"])
	}
	step := func(img *Image, tag, want string) {
		t.Helper()
		must(t, img.WriteLayout(ctx, out, tag))
		if got := index(); got != want {
			t.Errorf("the layout has %q, want %q", got, want)
		}
	}
	step(img, "v1", "img:v1 ")
	data, err := os.ReadFile(out + "/index.json")
	must(t, err)
	must(t, os.WriteFile(out+"/index.json", bytes.Replace(data, []byte("{"), []byte(`{"annotations":{"kept":"x"},`), 1), 0o644))
	step(img, "v1", "img:v1 x")
	step(other, "v1", "other:v1 x")
	step(img, "", "other:v1 img: x")
	step(img, "", "other:v1 img: x")
	step(img, "v2", "other:v1 img:v2 x") // it was there without a name

	var errs [4]error
	done := make(chan int)
	for i := range errs {
		go func() { errs[i] = img.WriteLayout(ctx, out, fmt.Sprint("p", i)); done <- i }()
	}
	for range errs {
		<-done
	}
	must(t, errors.Join(errs[:]...))
	for i := range errs {
		if !strings.Contains(index(), fmt.Sprint("img:p", i)) {
			t.Errorf("p%d is not in %s", i, index())
		}
	}
}

func TestLayoutRefused(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	l := openLocal(t)
	img := makeImage(t, l, sample(t, l))
	d := t.TempDir()
	must(t, os.WriteFile(d+"/file", nil, 0o644))
	if err := img.WriteLayout(ctx, d, ""); err == nil || !strings.Contains(err.Error(), "neither empty nor an OCI layout") {
		t.Errorf("got %v", err)
	}
	if err := img.WriteLayout(ctx, d+"/file", ""); err == nil {
		t.Error("a file was taken for a layout")
	}
	must(t, os.WriteFile(d+"/oci-layout", []byte(`{"imageLayoutVersion":"2.0.0"}`), 0o644))
	if err := img.WriteLayout(ctx, d, ""); err == nil || !strings.Contains(err.Error(), `version "2.0.0"`) {
		t.Errorf("got %v", err)
	}
	cancel()
	if err := img.WriteLayout(ctx, d+"/new", ""); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(d); len(left) != 2 {
		t.Errorf("left %v", left)
	}
}
