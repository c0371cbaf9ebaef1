package packtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/archive"
)

// FuzzZip unpacks whatever comes of zip archives.
func FuzzZip(f *testing.F) {
	for _, entries := range accepted() {
		f.Add(encoded(f, encodeZip, place(entries, "/x")...))
	}
	for name, c := range refused(0) {
		if name != "far too deep" && !bytes.Contains([]byte(name), []byte("hard link")) {
			f.Add(encoded(f, encodeZip, place(c.fileset, "/x")...))
		}
	}
	y := newPen(f)
	keep, err := pack.ParseFilters("mtime=keep,setid=keep")
	must(f, err)
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := archive.Unpack(context.Background(), y.l, bytes.NewReader(data),
			pack.BuildOptions{Name: "fuzz", MaxBytes: 1 << 20, MaxEntries: 100, Options: pack.Options{Filters: keep}})
		y.check(t, rec, err)
	})
}

// encoded returns the packed form of entries, which is one file.
func encoded(t testing.TB, encode func(testing.TB, string, ...Entry), entries ...Entry) []byte {
	t.Helper()
	file := tempDir(t) + "/packed"
	encode(t, file, entries...)
	data, err := os.ReadFile(file)
	must(t, err)
	return data
}

// FuzzLayers unpacks an image of two layers, both damaged tar streams whose headers'
// checksums and digests were made right again.
func FuzzLayers(f *testing.F) {
	lower := encoded(f, encodeTar, sample()...)
	f.Add(lower, encoded(f, encodeTar, File("a/.wh.b", ""), File("empty/.wh..wh..opq", ""), Symlink("run", "a"), File("a/new", "x")))
	f.Add(lower, encoded(f, encodeTar, Dir("a"), Hardlink("a/h", "zero"), Symlink("up", "a/../.."), File("up/x", ""), File(".wh.a", "")))
	f.Add(encoded(f, encodeTar, Symlink("bin", "usr/bin"), Dir("usr/bin")), encoded(f, encodeTar, File("bin/sh", "x"), File(".wh.usr", "")))
	for name, c := range refused(0) {
		if name != "far too deep" {
			f.Add(lower, encoded(f, encodeTar, place(c.fileset, "/x")...))
		}
	}
	y := newPen(f)
	n := 0
	f.Fuzz(func(t *testing.T, one, two []byte) {
		repair(one)
		repair(two)
		n++
		src := fmt.Sprintf("%s/d/%d", y.dir, n)
		layout(t, src, one, two)
		rec, err := unpackOCI(context.Background(), y.l, src, pack.BuildOptions{Name: "fuzz", MaxBytes: 1 << 20, MaxEntries: 100})
		must(t, os.RemoveAll(src))
		if err == nil { // the other name of the ware
			recs, err := y.l.List(context.Background())
			must(t, err)
			for _, r := range recs {
				if r.ID != rec.ID {
					must(t, y.l.Remove(r.ID))
				}
			}
		}
		y.check(t, rec, err)
	})
}

// FuzzManifest reads images of which index, manifest and configuration are whatever
// comes, with digests that are right.
func FuzzManifest(f *testing.F) {
	src := tempDir(f) + "/layout"
	layout(f, src, encoded(f, encodeTar, File("a", "b")))
	blobs, err := filepath.Glob(src + "/blobs/sha256/*")
	must(f, err)
	index, err := os.ReadFile(src + "/index.json")
	must(f, err)
	var manifest, config, layer []byte
	for _, blob := range blobs {
		data, err := os.ReadFile(blob)
		must(f, err)
		switch {
		case bytes.Contains(data, []byte(`"layers":[`)):
			manifest = data
		case bytes.Contains(data, []byte(`"rootfs"`)):
			config = data
		default:
			layer = data
		}
	}
	digest := func(data []byte) []byte { sum := sha256.Sum256(data); return hex.AppendEncode(nil, sum[:]) }
	manifestDigest, configDigest := digest(manifest), digest(config)
	f.Add(index, manifest, config)
	f.Add(bytes.Replace(index, []byte(`"size":`), []byte(`"platform":{"os":"linux","architecture":"arm64"},"size":`), 1), manifest, config)
	y := newPen(f)
	f.Fuzz(func(t *testing.T, index, manifest, config []byte) {
		src := tempDir(t)
		for _, blob := range [][]byte{layer, config} {
			put(t, src+"/blobs/sha256/"+string(digest(blob)), blob)
		}
		manifest = bytes.ReplaceAll(manifest, configDigest, digest(config))
		put(t, src+"/blobs/sha256/"+string(digest(manifest)), manifest)
		put(t, src+"/index.json", bytes.ReplaceAll(index, manifestDigest, digest(manifest)))
		put(t, src+"/oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
		rec, err := unpackOCI(context.Background(), y.l, src, pack.BuildOptions{Name: "fuzz", MaxBytes: 1 << 20, MaxEntries: 100})
		if err == nil {
			recs, err := y.l.List(context.Background())
			must(t, err)
			for _, r := range recs {
				if r.ID != rec.ID {
					must(t, y.l.Remove(r.ID))
				}
			}
		}
		y.check(t, rec, err)
	})
}

// FuzzGit checks out a commit whose two trees, blob and commit are whatever comes, with
// ids that are right.
func FuzzGit(f *testing.F) {
	blob := []byte("content")
	entry := func(mode, name string, id []byte) []byte {
		return append(fmt.Appendf(nil, "%s %s\x00", mode, name), id...)
	}
	const toBlob, toTree = "BBBBBBBBBBBBBBBBBBBB", "TTTTTTTTTTTTTTTTTTTT"
	sub := entry("100755", "f", []byte(toBlob))
	for _, e := range [][2]string{
		{"100644", "a"}, {"120000", "a"}, {"40000", ".."}, {"40000", ".git"}, {"160000", "m"}, {"100644", "a/b"}, {"104755", "a"}, {"40000", "d"},
	} {
		root := append(entry(e[0], e[1], []byte(toBlob)), entry("40000", "sub", []byte(toTree))...)
		f.Add([]byte("author n <e> 1 +0000\ncommitter n <e> 1 +0000\n\nm\n"), root, sub, blob)
	}
	y := newPen(f)
	p := repository()
	f.Fuzz(func(t *testing.T, commit, root, sub, blob []byte) {
		src := tempDir(t)
		blobID := object(t, src, "blob", blob)
		sub = bytes.ReplaceAll(sub, []byte(toBlob), blobID)
		subID := object(t, src, "tree", sub)
		root = bytes.ReplaceAll(bytes.ReplaceAll(root, []byte(toBlob), blobID), []byte(toTree), subID)
		head := object(t, src, "commit", append(fmt.Appendf(nil, "tree %x\n", object(t, src, "tree", root)), commit...))
		put(t, src+"/HEAD", fmt.Appendf(nil, "%x\n", head))
		put(t, src+"/config", []byte("[core]\n\trepositoryformatversion = 0\n\tbare = true\n"))
		must(t, os.MkdirAll(src+"/refs", 0o755))
		keep, err := pack.ParseFilters("mtime=keep")
		must(t, err)
		rec, err := p.Unpack(context.Background(), y.l, src, pack.BuildOptions{Name: "fuzz", MaxBytes: 1 << 20, MaxEntries: 100, Options: pack.Options{Filters: keep}})
		y.check(t, rec, err)
	})
}

// FuzzRepository checks out a repository that git made, of which one file was changed.
func FuzzRepository(f *testing.F) {
	p := repository()
	whole := p.pack(f, p.write(f, tempDir(f)+"/src", sample()...))
	files := map[string][]byte{}
	var names []string
	must(f, filepath.WalkDir(whole, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || filepath.Base(filepath.Dir(path)) == "hooks" {
			return err
		}
		data, err := os.ReadFile(path)
		files[path[len(whole):]] = data
		names = append(names, path[len(whole):])
		return err
	}))
	for i, name := range names {
		f.Add(byte(i), files[name])
	}
	want := func(l *pen) pack.Result {
		rec := p.unpack(f, l.l, whole, pack.Options{})
		must(f, l.l.Remove(rec.ID))
		return pack.Result{Tree: rec.Tree}
	}
	y := newPen(f)
	before := want(y)
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		name := names[int(which)%len(names)]
		src := tempDir(t)
		for n, content := range files {
			if n == name {
				content = data
			}
			put(t, src+n, content)
		}
		must(t, os.MkdirAll(src+"/refs", 0o755), os.MkdirAll(src+"/objects", 0o755))
		rec, err := p.Unpack(context.Background(), y.l, src, pack.BuildOptions{Name: "fuzz", MaxBytes: 1 << 20, MaxEntries: 100})
		if err == nil && rec.Tree != before.Tree {
			t.Errorf("with another %s it is %s, not %s", name, rec.Tree, before.Tree)
		}
		y.check(t, rec, err)
	})
}
