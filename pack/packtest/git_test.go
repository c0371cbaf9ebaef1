package packtest

import (
	"archive/tar"
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/git"
	"github.com/kilnbuild/kiln/warehouse"
)

func TestGit(t *testing.T) { Run(t, repository()) }

// repository is a packtype whose packed form is a repository that git made, and of
// which the commit that HEAD leads to is the ware.
func repository() Packtype {
	return Packtype{
		Pack: func(t testing.TB, dir, dst string) {
			in := func(args ...string) {
				run(t, "env", append([]string{"GIT_AUTHOR_DATE=@1 +0000", "GIT_COMMITTER_DATE=@1 +0000", "git", "--git-dir=" + dst, "--work-tree=" + dir, "-c", "core.protectNTFS=false", "-c", "user.name=n",
					"-c", "user.email=e", "-c", "core.quotePath=true", "-c", "gc.auto=0"}, args...)...)
			}
			in("init", "-q")
			in("add", "--all", "--force", ".")
			in("commit", "-q", "--allow-empty", "-m", "all")
			in("repack", "-q", "-a", "-d")
		},
		Encode:      encodeGit,
		EncodeLoses: LosesModes | LosesSpecial,
		Tool: func(src, dst string) error {
			return tool(dst, "git", "-c", "safe.directory=*", "-c", "core.protectNTFS=false", "--git-dir="+src, "--work-tree="+dst, "checkout", "-q", "-f", "HEAD", "--", ".")
		},
		// git itself makes no directory of an empty tree, and no empty trees.
		ToolErs: map[string]bool{"dots": true, "unicode twins": true},
		Unpack: func(ctx context.Context, l *warehouse.Local, src string, o pack.BuildOptions) (warehouse.Record, error) {
			r, err := git.Open(src)
			if err != nil {
				return warehouse.Record{}, fmt.Errorf("git %s: %w", o.Name, err)
			}
			defer r.Close()
			commit, err := r.Resolve("HEAD")
			if err != nil {
				return warehouse.Record{}, fmt.Errorf("git %s: %w", o.Name, err)
			}
			return r.Checkout(ctx, l, commit, git.Options{Options: o.Options, Name: o.Name, MaxBytes: o.MaxBytes, MaxEntries: o.MaxEntries})
		},
		Checked: true,
		// What is cut off of these names nothing else.
		NoEnd:       func(file string, at int) bool { return file == "config" || file == "HEAD" && at == 40 },
		ByComponent: true,
		MaxDepth:    4097,
		Loses: LosesMtimes | LosesModes | LosesOwners | LosesEmptyDirs |
			LosesSpecial | LosesRoot | LosesLongPaths,
	}
}

// A gitTree is a tree object that is being made; names may come twice.
type gitTree struct {
	entries []*gitEntry
}

type gitEntry struct {
	name, mode string
	id         []byte
	tree       *gitTree
	said       int64 // mode that an entry gave for the directory; 0: none did
}

// encodeGit makes a repository of loose objects whose trees say just what the entries do.
func encodeGit(t testing.TB, dst string, entries ...Entry) {
	root := &gitTree{}
	for _, e := range entries {
		parts := strings.Split(e.Name, "/")
		at := root
		for _, name := range parts[:len(parts)-1] {
			at = at.sub(name, 0)
		}
		leaf := &gitEntry{name: parts[len(parts)-1]}
		switch e.Typeflag {
		case tar.TypeReg:
			leaf.mode, leaf.id = "100644", object(t, dst, "blob", []byte(e.Content))
			if e.Mode != 0o644 {
				leaf.mode = fmt.Sprintf("10%04o", e.Mode)
			}
			if e.Mode == 0o600 {
				leaf.mode = "100644"
			}
		case tar.TypeSymlink:
			leaf.mode, leaf.id = "120000", object(t, dst, "blob", []byte(e.Linkname))
		case tar.TypeDir:
			if e.Mode&0o6000 != 0 {
				t.Skip("trees say nothing of the modes of directories")
			}
			at.sub(leaf.name, e.Mode)
			continue
		default:
			t.Skip("trees have no such entries")
		}
		at.entries = append(at.entries, leaf)
	}
	commit := fmt.Sprintf("tree %x\nauthor n <e> 1 +0000\ncommitter n <e> 1 +0000\n\nm\n", root.write(t, dst))
	put(t, dst+"/HEAD", fmt.Appendf(nil, "%x\n", object(t, dst, "commit", []byte(commit))))
	put(t, dst+"/config", []byte("[core]\n\trepositoryformatversion = 0\n\tbare = true\n"))
	put(t, dst+"/refs/heads/.keep", nil)
}

// sub returns the last subtree of a name, or a new one: there are two if two entries
// give it modes that differ.
func (g *gitTree) sub(name string, mode int64) *gitTree {
	for _, e := range slices.Backward(g.entries) {
		if e.name == name && e.tree != nil && (mode == 0 || e.said == 0 || e.said == mode) {
			e.said = max(e.said, mode)
			return e.tree
		}
	}
	sub := &gitEntry{name: name, mode: "40000", tree: &gitTree{}, said: mode}
	g.entries = append(g.entries, sub)
	return sub.tree
}

func (g *gitTree) write(t testing.TB, dst string) []byte {
	for _, e := range g.entries {
		if e.tree != nil {
			e.id = e.tree.write(t, dst)
		}
	}
	key := func(e *gitEntry) string {
		if e.tree != nil {
			return e.name + "/"
		}
		return e.name
	}
	slices.SortStableFunc(g.entries, func(a, b *gitEntry) int { return strings.Compare(key(a), key(b)) })
	var data []byte
	for _, e := range g.entries {
		data = append(fmt.Appendf(data, "%s %s\x00", e.mode, e.name), e.id...)
	}
	return object(t, dst, "tree", data)
}

// object writes a loose object and returns its id.
func object(t testing.TB, dst, kind string, data []byte) []byte {
	whole := append(fmt.Appendf(nil, "%s %d\x00", kind, len(data)), data...)
	id := sha1.Sum(whole)
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	z.Write(whole)
	z.Close()
	put(t, fmt.Sprintf("%s/objects/%02x/%x", dst, id[0], id[1:]), b.Bytes())
	return id[:]
}

func put(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
