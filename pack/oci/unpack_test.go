package oci

import (
	"context"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/oci/ocitest"
)

// layered are images by their layers, the lowest first, and what they flatten to.
var layered = []struct {
	name   string
	layers [][]string
	want   string
}{
	{"none", nil, ""},
	{"replace", [][]string{{"file a old", "file b b", "dir d", "file d/x x"}, {"file a new", "file d file"}}, "a new\nb b\nd file"},
	{"directory over file", [][]string{{"file a old"}, {"dir a", "file a/x x"}}, "a/\na/x x"},
	{"directory over directory", [][]string{{"dir a", "file a/x x"}, {"dir a@700", "file a/y y"}}, "a/\na/x x\na/y y"},
	{"missing parents", [][]string{{"file a/b/c x"}}, "a/\na/b/\na/b/c x"},
	{"twice in one layer", [][]string{{"file a 1", "file a 2", "dir a", "file a/x x", "link a b"}}, "a -> b"},
	{"whiteout", [][]string{{"file a a", "file d/x x", "file d/y y"}, {"file .wh.a ", "file d/.wh.x ", "file d/.wh.gone ", "file gone/.wh.x "}}, "d/\nd/y y"},
	{"whiteout of a directory", [][]string{{"file d/x x", "file d/e/y y"}, {"file .wh.d "}, {"file d/z z"}}, "d/\nd/z z"},
	{"whiteout before", [][]string{{"file d/x x", "file a old"}, {"file .wh.d ", "file .wh.a ", "file d/z z", "file a new"}}, "a new\nd/\nd/z z"},
	{"whiteout after", [][]string{{"file d/x x", "file d/e/f f", "file a old"}, {"file d/z z", "file d/e/g g", "file a new", "file .wh.d ", "file .wh.a "}},
		"a new\nd/\nd/e/\nd/e/g g\nd/z z"},
	{"opaque before", [][]string{{"file d/x x", "dir d/e"}, {"dir d", "file d/.wh..wh..opq ", "file d/z z"}}, "d/\nd/z z"},
	{"opaque after", [][]string{{"file d/x x", "file d/e/y y"}, {"file d/z z", "file d/e/v v", "file d/.wh..wh..opq "}}, "d/\nd/e/\nd/e/v v\nd/z z"},
	{"opaque root", [][]string{{"file d/x x", "file a a"}, {"file .wh..wh..opq ", "file b b"}}, "b b"},
	{"opaque of nothing", [][]string{{"file a a"}, {"file d/.wh..wh..opq ", "file a/.wh..wh..opq "}}, "a a"},
	{"aufs", [][]string{{"file .wh..wh.aufs ", "dir .wh..wh.plnk", "file .wh..wh.plnk/1.2 x", "file a a"}}, "a a"},
	{"hard links", [][]string{{"file a a", "hard b a"}, {"hard d/c b", "file a new", "link s a", "hard t s"}, {"file .wh.b ", "hard e d/c"}},
		"a new\nd/\nd/c a\ne a\ns -> a\nt -> a"},
	{"hard link by way of symlinks", [][]string{{"file usr/a a", "link l usr"}, {"hard b l/a", "hard l/c /l/a"}}, "b a\nl -> usr\nusr/\nusr/a a\nusr/c a"},
	{"links to directories", [][]string{
		{"dir usr/bin", "link bin usr/bin", "link sbin /usr/bin", "link up ../../usr", "file usr/bin/a a"},
		{"file bin/b b", "file sbin/c c", "file up/d d", "file bin/.wh.a ", "link bin/e bin/f"},
	}, "bin -> usr/bin\nsbin -> /usr/bin\nup -> ../../usr\nusr/\nusr/bin/\nusr/bin/b b\nusr/bin/c c\nusr/bin/e -> bin/f\nusr/d d"},
	{"directory over a link", [][]string{{"file usr/a a", "link bin usr"}, {"dir bin", "file bin/b b"}}, "bin/\nbin/b b\nusr/\nusr/a a"},
	{"dangling link", [][]string{{"link a b/../c/d"}, {"file a/x x"}}, "a -> b/../c/d\nc/\nc/d/\nc/d/x x"},
	{"whiteout of a link", [][]string{{"file d/x x", "link l d"}, {"file .wh.l "}}, "d/\nd/x x"},
	{"absolute names", [][]string{{"file /a a", "dir /", "file ./b b", "dir ./", "file //c//d d"}}, "a a\nb b\nc/\nc/d d"},
}

func TestUnpack(t *testing.T) {
	for _, test := range layered {
		t.Run(test.name, func(t *testing.T) {
			w := openLocal(t)
			l := ocitest.NewLayout(t)
			var layers [][]byte
			for _, lines := range test.layers {
				layers = append(layers, ocitest.Layer(lines...))
			}
			l.Tag("t", l.Image("linux/amd64", nil, layers...))
			rec, img, err := unpack(l, w, "t", "linux/amd64", pack.BuildOptions{Name: "test"})
			must(t, err)
			if got := listing(t, w.Fileset(rec)); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
			must(t, pack.Check(context.Background(), w, rec.ID))
			if alias, err := w.Get(img.WareID()); err != nil || alias.Tree != rec.ID {
				t.Errorf("its own id: %+v, %v", alias, err)
			}
			// A second opinion of what a fileset is, and of what layers mean.
			if test.name == "aufs" {
				return // umoci takes what docker skips
			}
			bundle := t.TempDir() + "/bundle"
			ocitest.Run(t, "umoci", "unpack", "--rootless", "--image", l.Dir+":t", bundle)
			o := pack.Options{Filters: DefaultFilters()}
			got, err := pack.Scan(context.Background(), bundle+"/rootfs", o)
			must(t, err)
			if got.ID != rec.ID {
				t.Errorf("umoci unpacks it to\n%s", strings.TrimSpace(listing(t, bundle+"/rootfs")))
			}
		})
	}
}

// TestPatterns takes a part of an image; what it leaves out still leads to what it takes.
func TestPatterns(t *testing.T) {
	l := ocitest.NewLayout(t)
	l.Tag("t", l.Image("linux/amd64", nil,
		ocitest.Layer("dir usr/bin", "link bin usr/bin", "file usr/bin/a a", "file etc/x x", "file etc/y y", "link usr/l a"),
		ocitest.Layer("file bin/b b", "file etc/.wh.x ", "hard usr/bin/c bin/b")))
	w := openLocal(t)
	for _, test := range []struct {
		include, exclude []string
		want             string
	}{
		{[]string{"usr/bin"}, nil, "usr/\nusr/bin/\nusr/bin/a a\nusr/bin/b b\nusr/bin/c b"},
		{nil, []string{"usr"}, "bin -> usr/bin\netc/\netc/y y"},
		{[]string{"etc/**"}, nil, "etc/\netc/y y"},
		{[]string{"etc/x"}, nil, ""},
	} {
		rec, img, err := unpack(l, w, "t", "linux/amd64", pack.BuildOptions{Options: pack.Options{Include: test.include, Exclude: test.exclude}})
		must(t, err)
		if got := listing(t, w.Fileset(rec)); got != test.want {
			t.Errorf("%v without %v:\n%s\nwant\n%s", test.include, test.exclude, got, test.want)
		}
		if w.Has(img.WareID()) {
			t.Error("a part of an image has the id of the whole")
		}
	}
	refused(t, l, pack.BuildOptions{Options: pack.Options{Exclude: []string{"usr/bin/b"}}}, `hard link to "bin/b", which include and exclude leave out`)
}
