package git

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/pack"
)

// FuzzCheckout takes the data for a tree. Nothing outside the fileset changes, and the
// fileset of a tree that is accepted has the ware's id when it is scanned.
func FuzzCheckout(f *testing.F) {
	id := func(n byte) string { return strings.Repeat(string(rune(n)), 20) }
	made := newForge(f)
	blob := made.put(Blob, "content")
	sub := made.tree(treeEntry("100644", "f", blob), treeEntry("120000", "l", made.put(Blob, "../../x")))
	f.Add(treeEntry("100644", "a", blob) + treeEntry("40000", "b", sub) + treeEntry("120000", "c", blob))
	f.Add(treeEntry("40000", "..", sub))
	f.Add(treeEntry("100755", "a\x01\xff", blob) + "100644 b\x00" + id(3))
	f.Add(treeEntry("160000", "m", blob) + treeEntry("100644", ".gitmodules", blob))
	f.Fuzz(func(t *testing.T, tree string) {
		repo := &forge{t, made.dir}
		r, err := Open(repo.dir)
		must(t, err)
		defer r.Close()
		l := openLocal(t)
		rec, err := r.Checkout(t.Context(), l, repo.commit(repo.put(Tree, tree)), Options{NoSubmodules: true})
		if entries, _ := os.ReadDir(filepath.Dir(l.Dir())); len(entries) != 1 {
			t.Errorf("beside the warehouse: %v", entries)
		}
		if err != nil {
			return
		}
		again, err := pack.Scan(t.Context(), l.Fileset(rec), pack.Options{})
		if err != nil || again.ID != rec.ID {
			t.Errorf("%s is %s when it is scanned: %v", rec.ID, again.ID, err)
		}
	})
}

// smallRepo has one delta, and little else that a fuzzer would have to get by.
func smallRepo(t testing.TB) string {
	dir := newRepo(t, map[string]string{"f": strings.Repeat("a line\n", 20)})
	commitFiles(t, dir, map[string]string{"f": strings.Repeat("a line\n", 20) + "another"})
	return dir
}

// FuzzIndexPack takes a pack without its checksum. Every object that the index of one
// that is accepted names can be read, or is refused, and has its id.
func FuzzIndexPack(f *testing.F) {
	pack, err := os.ReadFile(packOf(f, smallRepo(f)))
	must(f, err)
	f.Add(pack[:len(pack)-20])
	f.Add([]byte("PACK\x00\x00\x00\x02\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h := newHash(20)
		h.Write(data)
		sum, err := sum(h)
		if err != nil {
			return
		}
		dir := t.TempDir()
		path := filepath.Join(dir, "pack", "p")
		must(t, os.Mkdir(filepath.Join(dir, "pack"), 0o700))
		must(t, os.WriteFile(path+".pack", append(bytes.Clone(data), sum...), 0o600))
		_, n, err := IndexPack(t.Context(), path+".pack", path+".idx", 20, nil)
		if err != nil {
			return
		}
		s, err := OpenStore(dir, 20)
		must(t, err)
		defer s.Close()
		seen := 0
		for first := range 256 {
			must(t, (*s.packs.Load())[0].begin([]byte{byte(first)}, false, func(id ID) {
				seen++
				k, data, err := s.ReadAny(id, maxDelta)
				if got, hashErr := HashObject(k, data, 20); err != nil || hashErr != nil || got != id {
					t.Errorf("%s is %s: %v, %v", id, got, err, hashErr)
				}
			}))
		}
		if seen != n {
			t.Errorf("%d objects in the index, want %d", seen, n)
		}
	})
}

// FuzzIndex takes an index for a pack that is right: what is read through it is what
// its id names, or refused.
func FuzzIndex(f *testing.F) {
	dir := smallRepo(f)
	path := packOf(f, dir)
	idx, err := os.ReadFile(strings.TrimSuffix(path, ".pack") + ".idx")
	must(f, err)
	f.Add(idx)
	objects := strings.Fields(runGit(f, dir, "cat-file", "--batch-all-objects", "--batch-check=%(objectname)"))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		must(t, os.Mkdir(filepath.Join(dir, "pack"), 0o700))
		must(t, os.Link(path, filepath.Join(dir, "pack", "p.pack")))
		must(t, os.WriteFile(filepath.Join(dir, "pack", "p.idx"), data, 0o600))
		s, err := OpenStore(dir, 20)
		if err != nil {
			return
		}
		defer s.Close()
		for _, hex := range objects {
			id, err := ParseID(hex)
			must(t, err)
			k, data, err := s.ReadAny(id, maxDelta)
			if err != nil {
				continue
			}
			if got, err := HashObject(k, data, 20); err != nil || got != id {
				t.Errorf("%s is %s: %v", id, got, err)
			}
		}
		_, err = s.begin(objects[0][:5])
		_ = err // it only must return
	})
}

// FuzzLoose takes a loose object's file.
func FuzzLoose(f *testing.F) {
	made := newForge(f)
	data, err := os.ReadFile(loosePath(filepath.Join(made.dir, "objects"), made.put(Blob, "content")))
	must(f, err)
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "object")
		must(t, os.WriteFile(path, data, 0o600))
		k, content, err := readLoose(path, 1<<20)
		if err == nil && (k < Commit || k > Tag || len(content) > 1<<20) {
			t.Errorf("%s of %d bytes", k, len(content))
		}
	})
}

// FuzzDelta makes an object that is as long as the delta says, or refuses it.
func FuzzDelta(f *testing.F) {
	f.Add([]byte("base content"), []byte("\x0c\x08\x90\x04\x04abcd"))
	f.Add([]byte("b"), []byte("\x01\xff\xff\xff\xff\xff\x0f"))
	f.Fuzz(func(t *testing.T, base, delta []byte) {
		out, err := applyDelta(base, delta, 1<<20)
		if err != nil {
			return
		}
		if _, size, _, _ := deltaSizes(delta); size != int64(len(out)) {
			t.Errorf("%d bytes, the delta says %d", len(out), size)
		}
	})
}

// FuzzTexts reads what else comes with a repository.
func FuzzTexts(f *testing.F) {
	f.Add("[submodule \"a\\\"b\"]\n\tpath = \"x # y\" ; z\\\n more\n\turl=../a\n", "https://h/a/b.git")
	f.Add("tree 0123456789012345678901234567890123456789\ncommitter a <b> 1 +0000\n\n", "git@h:a/b")
	f.Add("object 0123456789012345678901234567890123456789\n", "/a/b/")
	f.Fuzz(func(t *testing.T, text, parent string) {
		_, _ = parseCommit([]byte(text))
		_, _ = tagged([]byte(text))
		settings, err := parseConfig(text)
		if err != nil {
			return
		}
		for path, m := range modulesOf(settings) {
			if path != "" {
				_, _ = RelativeURL(parent, m.url)
			}
		}
	})
}
