package pack

import (
	"context"
	"crypto/sha512"
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A vector is a fileset described entry by entry, and its ids.
type vector struct {
	Name    string
	Filters string // over RioPackFilters
	Entries []struct {
		Path, Type       string
		Mode             uint32
		UID, GID         uint32
		Mtime            int64
		Content          string
		Repeat           int
		Link             string
		DevMajor, DevMin uint32
	}
	Tar, Zip, Tree string
}

// vectors reads the project's own vectors, and those KILN_VECTORS names.
func vectors(t *testing.T) []vector {
	t.Helper()
	var all []vector
	files := []string{"testdata/vectors.json"}
	if more := os.Getenv("KILN_VECTORS"); more != "" {
		files = append(files, more)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		must(t, err)
		var vs []vector
		must(t, json.Unmarshal(data, &vs))
		all = append(all, vs...)
	}
	return all
}

func (v *vector) filters(t *testing.T) Filters {
	f, err := ParseFilters(v.Filters)
	must(t, err)
	return f.Over(RioPackFilters())
}

// modelled computes the ids from the description alone, without a file system.
func (v *vector) modelled(t *testing.T) (tree, tar string) {
	f := v.filters(t)
	s := scratchPool.Get().(*scratch)
	below := map[string][]node{}
	entries := slices.Clone(v.Entries)
	// Children before parents.
	sort.Slice(entries, func(i, j int) bool { return entries[i].Path > entries[j].Path })
	for _, e := range entries {
		n := node{name: path.Base(e.Path), meta: meta{
			kind: map[string]Kind{"file": KindFile, "dir": KindDir, "symlink": KindSymlink, "fifo": KindFifo}[e.Type],
			mode: e.Mode, uid: e.UID, gid: e.GID, sec: e.Mtime, link: e.Link,
		}}
		if n.meta.kind == 0 {
			t.Fatalf("entry of type %q", e.Type)
		}
		if n.meta.kind == KindSymlink {
			n.meta.mode = 0o777
		}
		must(t, f.apply(&n.meta, true))
		content := []byte(strings.Repeat(e.Content, e.Repeat))
		n.digest = hashMessage(content)
		switch n.meta.kind {
		case KindDir:
			children := below[e.Path]
			slices.SortFunc(children, func(a, b node) int { return strings.Compare(a.name, b.name) })
			n.digest = hashMessage(directoryMessage(nil, &n.meta, children))
			n.rio = rioDir(n.name, &n.meta, children, s)
		case KindFile:
			sum := sha512.Sum384(content)
			n.rio = rioFile(&n, &sum, s)
		}
		if e.Path == "." {
			return treeID(n.digest).String(), rioID(Tar, n.rio).String()
		}
		below[path.Dir(e.Path)] = append(below[path.Dir(e.Path)], n)
	}
	t.Fatal("no root entry")
	return "", ""
}

// written makes the fileset on disk.
func (v *vector) written(t *testing.T, root string) {
	entries := slices.Clone(v.Entries)
	sort.Slice(entries, func(i, j int) bool { return entries[i].Path < entries[j].Path })
	for _, e := range entries {
		p := filepath.Join(root, e.Path)
		switch e.Type {
		case "dir":
			must(t, os.MkdirAll(p, 0o700))
		case "file":
			must(t, os.WriteFile(p, []byte(strings.Repeat(e.Content, e.Repeat)), 0o600))
		case "symlink":
			must(t, os.Symlink(e.Link, p))
		case "fifo":
			must(t, unix.Mkfifo(p, 0o600))
		}
	}
	slices.Reverse(entries)
	for _, e := range entries {
		p := filepath.Join(root, e.Path)
		if canGiveAway(t) {
			must(t, os.Lchown(p, int(e.UID), int(e.GID)))
		}
		if e.Type != "symlink" {
			must(t, unix.Chmod(p, e.Mode))
		}
		ts := unix.NsecToTimespec(time.Unix(e.Mtime, 0).UnixNano())
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	}
}

// canGiveAway reports whether files can be given any owner: not without root, nor as
// root of a user namespace that maps one id.
func canGiveAway(t *testing.T) bool {
	f := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(f, nil, 0o600))
	return os.Chown(f, 65534, 65534) == nil
}

func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			tree, tar := v.modelled(t)
			if v.Tar != "" && tar != v.Tar {
				t.Errorf("modelled: got %s, want %s", tar, v.Tar)
			}
			if v.Tree != "" && tree != v.Tree {
				t.Errorf("modelled: got %s, want %s", tree, v.Tree)
			}
			f := v.filters(t)
			if !canGiveAway(t) && (f.uid.rule == keep || f.gid.rule == keep) {
				t.Skip("giving files away needs root with all ids mapped, and this vector keeps owners")
			}
			root := filepath.Join(t.TempDir(), "root")
			v.written(t, root)
			r, err := Scan(context.Background(), root, Options{Packtype: Tar, Filters: f})
			must(t, err)
			if zip := "zip:" + strings.TrimPrefix(tar, "tar:"); v.Zip != "" {
				z, err := Scan(context.Background(), root, Options{Packtype: Zip, Filters: f})
				if must(t, err); z.ID.String() != v.Zip || v.Zip != zip {
					t.Errorf("from disk: got %s, want %s", z.ID, v.Zip)
				}
			}
			if r.ID.String() != tar || r.Tree.String() != tree {
				t.Errorf("from disk: got %s and %s, want %s and %s", r.ID, r.Tree, tar, tree)
			}
		})
	}
}
