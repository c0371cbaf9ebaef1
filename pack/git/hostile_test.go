package git

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zlib"

	"github.com/kilnbuild/kiln/pack"
)

// A forge makes a repository object by object, right or wrong.
type forge struct {
	t   testing.TB
	dir string
}

func newForge(t testing.TB) *forge {
	dir := t.TempDir()
	for _, sub := range []string{"objects/pack", "refs/heads"} {
		must(t, os.MkdirAll(filepath.Join(dir, sub), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(dir, "HEAD"), []byte("ref: refs/heads/main\n"), 0o644))
	return &forge{t, dir}
}

// put writes a loose object as it is, below the id that its content has.
func (f *forge) put(k Kind, data string) ID {
	id, err := HashObject(k, []byte(data), 20)
	must(f.t, err)
	f.raw(id, fmt.Sprintf("%s %d\x00%s", k, len(data), data))
	return id
}

// raw writes a loose object below any id.
func (f *forge) raw(id ID, text string) {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	z.Write([]byte(text))
	z.Close()
	f.file(id, b.Bytes())
}

func (f *forge) file(id ID, data []byte) {
	path := loosePath(filepath.Join(f.dir, "objects"), id)
	must(f.t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(f.t, os.WriteFile(path, data, 0o644))
}

func (f *forge) tree(entries ...string) ID { return f.put(Tree, strings.Join(entries, "")) }

func treeEntry(mode, name string, id ID) string { return mode + " " + name + "\x00" + string(id) }

func (f *forge) commit(tree ID) ID {
	return f.put(Commit, fmt.Sprintf("tree %s\nauthor a <a> 1 +0000\ncommitter a <a> 1700000000 +0000\n\nm\n", tree))
}

// checkout makes a ware of a commit in a warehouse of its own. Whatever comes of it,
// what lies beside the warehouse's filesets stays as it is.
func (f *forge) checkout(commit ID, o Options) error {
	f.t.Helper()
	r, err := Open(f.dir)
	if err != nil {
		return err
	}
	defer r.Close()
	l := openLocal(f.t)
	canary := filepath.Join(l.Dir(), "canary")
	must(f.t, os.WriteFile(canary, []byte("alive"), 0o600))
	o.Name = "repo"
	_, err = r.Checkout(f.t.Context(), l, commit, o)
	if text, readErr := os.ReadFile(canary); readErr != nil || string(text) != "alive" {
		f.t.Errorf("the canary is %q, %v", text, readErr)
	}
	if staged, _ := filepath.Glob(filepath.Join(l.Dir(), "stage/*/*")); len(staged) > 0 {
		f.t.Errorf("left behind: %v", staged)
	}
	return err
}

// TestHostileTrees: each is refused, naming the commit and the entry.
func TestHostileTrees(t *testing.T) {
	f := newForge(t)
	blob := f.put(Blob, "content")
	link := f.put(Blob, "/etc")
	empty := f.put(Blob, "")
	nul := f.put(Blob, "a\x00b")
	long := f.put(Blob, strings.Repeat("a", 5000))
	file := func(name string) string { return treeEntry("100644", name, blob) }
	below := f.tree(file("f"))
	missing := ID(strings.Repeat("\x12", 20))
	deep := f.tree(file("bottom"))
	defer func(n int) { maxDepth = n }(maxDepth)
	maxDepth = 50
	for range maxDepth + 1 {
		deep = f.tree(treeEntry("40000", "d", deep))
	}
	for name, x := range map[string]struct {
		tree ID
		want string
	}{
		"dot dot":      {f.tree(file("..")), `entry "..": no entry can have this name`},
		"dot":          {f.tree(file(".")), `entry ".": no entry can have this name`},
		"no name":      {f.tree(file("")), `entry "": it has no name`},
		"slash":        {f.tree(file("a/b")), `entry "a/b": its name has a slash`},
		"up":           {f.tree(file("../x")), `entry "../x": its name has a slash`},
		"absolute":     {f.tree(file("/etc")), `entry "/etc": its name has a slash`},
		"git":          {f.tree(treeEntry("40000", ".git", below)), `entry ".git": git does not allow`},
		"git case":     {f.tree(file(".GiT")), `entry ".GiT": git does not allow`},
		"git short":    {f.tree(file("GIT~1")), `entry "GIT~1": git does not allow`},
		"git stream":   {f.tree(file(".git::$INDEX")), `git does not allow`},
		"git dots":     {f.tree(file(".git . .")), `git does not allow`},
		"git ignored":  {f.tree(file(".g\u200cit")), `git does not allow`},
		"below":        {f.tree(treeEntry("40000", "sub", f.tree(file("..")))), `"sub": tree `},
		"long name":    {f.tree(file(strings.Repeat("n", 256))), "no file system takes more"},
		"twice":        {f.tree(file("a"), file("a")), `entry "a": it is there twice`},
		"file and dir": {f.tree(file("a"), file("a-"), treeEntry("40000", "a", below)), `"a": `},
		"link and dir": {f.tree(treeEntry("120000", "a", link), treeEntry("40000", "a", below)), `"a": `},
		"order":        {f.tree(file("b"), file("a")), `entry "a": it is not in order after "b"`},
		"dir order":    {f.tree(treeEntry("40000", "a", below), file("a.b")), `entry "a.b": it is not in order`},
		"mode":         {f.tree(treeEntry("20666", "dev", blob)), "its mode 020666 is none that git knows"},
		"setuid":       {f.tree(treeEntry("104755", "su", blob)), "its mode 104755 is none"},
		"mode digits":  {f.tree(treeEntry("100999", "a", blob)), "damaged, or no tree"},
		"mode length":  {f.tree(treeEntry("0000100644", "a", blob)), "damaged, or no tree"},
		"truncated":    {f.put(Tree, file("a")[:15]), "damaged, or no tree"},
		"no tree":      {f.put(Tree, "nonsense"), "damaged, or no tree"},
		"blob as tree": {f.tree(treeEntry("40000", "d", blob)), `"d": tree ` + blob.String() + ": it is a blob"},
		"tree as blob": {f.tree(treeEntry("100644", "a", below)), `"a": blob ` + below.String() + ": it is a tree"},
		"missing":      {f.tree(treeEntry("100644", "a", missing)), `"a": blob ` + missing.String() + ": not in the repository"},
		"missing tree": {f.tree(treeEntry("40000", "a", missing)), `"a": tree ` + missing.String() + ": not in the repository"},
		"no root":      {missing, "tree " + missing.String() + ": not in the repository"},
		"empty link":   {f.tree(treeEntry("120000", "l", empty)), `"l": it is a symlink whose target is no path`},
		"nul link":     {f.tree(treeEntry("120000", "l", nul)), `"l": it is a symlink whose target is no path`},
		"long link":    {f.tree(treeEntry("120000", "l", long)), `"l": blob ` + long.String() + ": it has 5000 bytes"},
		"deep":         {deep, "more than 50 directories deep"},
		"no module":    {f.tree(treeEntry("160000", "m", missing)), `"m": submodule: it is not in .gitmodules`},
		"module link":  {f.tree(treeEntry("120000", ".gitmodules", link)), ".gitmodules is no file"},
		"module text":  {f.tree(treeEntry("100644", ".gitmodules", f.put(Blob, "[submodule \"x"))), ".gitmodules: line 1: a name that does not end"},
	} {
		commit := f.commit(x.tree)
		err := f.checkout(commit, Options{})
		if err == nil || !strings.Contains(err.Error(), x.want) || !strings.Contains(err.Error(), "git repo: commit "+commit.String()) {
			t.Errorf("%s: %v, want %s", name, err, x.want)
		}
	}
	// A symlink and what would be below it are two entries of one name: refused above.
	// One that leads outside is kept, and nothing is written through it.
	must(t, f.checkout(f.commit(f.tree(treeEntry("120000", "l", link), file("m"))), Options{}))
	must(t, f.checkout(f.commit(f.tree(treeEntry("100664", "old", blob), treeEntry("040000", "padded", below))), Options{}))
}

// TestDamagedObjects: what is not what its id says is refused.
func TestDamagedObjects(t *testing.T) {
	id := ID(strings.Repeat("\xab", 20))
	zipped := func(text string) []byte {
		var b bytes.Buffer
		z := zlib.NewWriter(&b)
		z.Write([]byte(text))
		z.Close()
		return b.Bytes()
	}
	big := strings.Repeat("0123456789abcdef", 200_000) // read while it is written
	for name, x := range map[string]struct {
		data []byte
		want string
	}{
		"another":     {zipped("blob 4\x00abcd"), "it is damaged: its hash is "},
		"another big": {zipped(fmt.Sprintf("blob %d\x00%s", len(big), big)), "it is damaged: its hash is "},
		"longer":      {zipped("blob 3\x00abcd"), "not as long as its header says"},
		"longer big":  {zipped(fmt.Sprintf("blob %d\x00%s", len(big)-1, big)), "longer than its header says"},
		"shorter":     {zipped("blob 5\x00abcd"), "not as long as its header says"},
		"shorter big": {zipped(fmt.Sprintf("blob %d\x00%s", len(big)+1, big)), ""},
		"kind":        {zipped("blub 4\x00abcd"), "its header is none of an object"},
		"negative":    {zipped("blob -4\x00abcd"), "its header is none of an object"},
		"no size":     {zipped("blob \x00abcd"), "its header is none of an object"},
		"no header":   {zipped(strings.Repeat("x", 100)), "its header is none of an object"},
		"empty":       {nil, "compressed data ends too early"},
		"no zlib":     {[]byte("blob 4\x00abcd"), "compressed data is damaged"},
		"truncated":   {zipped("blob 4\x00abcd")[:12], "compressed data"},
		"huge":        {zipped("blob 9000000000000000000\x00abcd"), ""},
		"huge claim":  {zipped("blob 99999999999999999999\x00abcd"), "its header is none of an object"},
		"checksum":    {append(zipped("blob 4\x00abcd")[:14], 1, 2, 3, 4), "compressed data"},
	} {
		f := newForge(t)
		f.file(id, x.data)
		err := f.checkout(f.commit(f.tree(treeEntry("100644", "entry", id))), Options{})
		var about *ObjectError
		if err == nil || !strings.Contains(err.Error(), x.want) || !strings.Contains(err.Error(), `"entry"`) {
			t.Errorf("%s: %v, want %s", name, err, x.want)
		}
		if x.want != "" && !errors.As(err, &about) {
			t.Errorf("%s: %v is not about an object", name, err)
		}
	}
}

func TestLimits(t *testing.T) {
	f := newForge(t)
	blob := f.put(Blob, strings.Repeat("x", 100))
	bomb := f.tree(treeEntry("100644", "f", blob))
	for range 9 { // ten of each, nine times
		var entries []string
		for i := range 10 {
			entries = append(entries, treeEntry("40000", fmt.Sprint(i), bomb))
		}
		bomb = f.tree(entries...)
	}
	if err := f.checkout(f.commit(bomb), Options{MaxEntries: 1000}); err == nil || !strings.Contains(err.Error(), "one entry more than the 1000 allowed") {
		t.Errorf("too many entries: %v", err)
	}
	// What is left out is looked at all the same.
	o := Options{MaxEntries: 1000, Options: pack.Options{Include: []string{"**/none"}}}
	if err := f.checkout(f.commit(bomb), o); err == nil || !strings.Contains(err.Error(), "one entry more than the 1000 allowed") {
		t.Errorf("too many entries left out: %v", err)
	}
	one := f.commit(f.tree(treeEntry("100644", "f", blob)))
	if err := f.checkout(one, Options{MaxBytes: 99}); err == nil || !strings.Contains(err.Error(), `"f"`) {
		t.Errorf("too many bytes: %v", err)
	}
	must(t, f.checkout(one, Options{MaxBytes: 100}))
	big := f.put(Blob, strings.Repeat("x", 3<<20))
	if err := f.checkout(f.commit(f.tree(treeEntry("100644", "f", big))), Options{MaxBytes: 1 << 20}); err == nil || !strings.Contains(err.Error(), `"f"`) {
		t.Errorf("one file of too many bytes: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := openRepo(t, f.dir)
	if _, err := r.Checkout(ctx, openLocal(t), f.commit(bomb), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestCollision writes the beginning that the two files of shattered.io have, which
// was made for a collision, as if it were an object.
func TestCollision(t *testing.T) {
	const shattered = "255044462d312e330a25e2e3cfd30a0a0a312030206f626a0a3c3c2f57696474682032203020522f4865696768742033203020522f547970652034203020522f537562747970652035203020522f46696c7465722036203020522f436f6c6f7253706163652037203020522f4c656e6774682038203020522f42697473506572436f6d706f6e656e7420383e3e0a73747265616d0affd8fffe00245348412d3120697320646561642121212121852fec092339759c39b1a1c63c4c97e1fffe017f46dc93a6b67e013b029aaa1db2560b45ca67d688c7f84b8c4c791fe02b3df614f86db1690901c56b45c1530afedfb76038e972722fe7ad728f0e4904e046c230570fe9d41398abe12ef5bc942be33542a4802d98b5d70f2a332ec37fac3514e74ddc0f2cc1a874cd0c78305a21566461309789606bd0bf3f98cda8044629a1"
	data, err := hex.DecodeString(shattered)
	must(t, err)
	h := newHash(20)
	h.Write(data)
	if _, err := sum(h); err == nil {
		t.Error("a collision goes unseen")
	}
}

// TestDamagedPacks flips and cuts a pack and its index. Whatever is read is what git
// has put there, or refused.
func TestDamagedPacks(t *testing.T) {
	dir := historyOf(t, "sha1")
	pack := packOf(t, dir)
	idx := strings.TrimSuffix(pack, ".pack") + ".idx"
	commit := runGit(t, dir, "rev-parse", "HEAD")
	id, err := ParseID(commit)
	must(t, err)
	want := archived(t, dir, commit)
	for _, path := range []string{pack, idx} {
		good, err := os.ReadFile(path)
		must(t, err)
		must(t, os.Chmod(path, 0o600))
		failed := 0
		try := func(data []byte) {
			must(t, os.WriteFile(path, data, 0o600))
			r, err := Open(dir)
			if err != nil {
				failed++
				return
			}
			defer r.Close()
			rec, err := r.Checkout(t.Context(), openLocal(t), id, Options{})
			if err != nil {
				failed++
			} else if rec.ID != want {
				t.Errorf("%s, changed, makes %s", path, rec.ID)
			}
		}
		for i := 0; i < len(good); i += 1 + len(good)/40 {
			bad := bytes.Clone(good)
			bad[i] ^= 0x41
			try(bad)
			try(good[:i])
		}
		if failed < 40 {
			t.Errorf("%s: only %d changes were noticed", path, failed)
		}
		must(t, os.WriteFile(path, good, 0o600))
	}
}
