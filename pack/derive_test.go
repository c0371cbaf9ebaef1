package pack

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/warehouse"
)

// built makes a ware of entries; a file's content is its path.
func built(t testing.TB, l *warehouse.Local, packtype, filters string, entries ...Entry) (warehouse.Record, error) {
	t.Helper()
	f, err := ParseFilters(filters)
	must(t, err)
	b, err := NewBuilder(context.Background(), l, BuildOptions{Options: Options{Packtype: packtype, Filters: f}})
	must(t, err)
	defer b.Close()
	for _, e := range entries {
		if e.Kind == KindFile {
			e.Size = int64(len(e.Path))
		}
		must(t, b.Add(&e, strings.NewReader(e.Path)))
	}
	return b.Commit()
}

// TestDerive expects what packing with all filters at once gives, and that each ware
// keeps a fileset of its own.
func TestDerive(t *testing.T) {
	ctx := context.Background()
	entries := []Entry{
		{Path: ".", Kind: KindDir, Mode: 0o750, UID: 7, GID: 8},
		{Path: "d", Kind: KindDir, Mode: 0o1755, UID: 1000, GID: 100, Sec: 1e9, Nsec: 5},
		{Path: "d/f", Kind: KindFile, Mode: 0o640, UID: 1000, GID: 100, Sec: 1e9},
		{Path: "g", Kind: KindFile, Mode: 0o755, Sec: -1},
		{Path: "l", Kind: KindSymlink, Link: "d/f", UID: 1, GID: 2, Sec: 3},
	}
	const keep = "uid=keep,gid=keep,mtime=keep"
	for _, packtype := range []string{Tree, Tar} {
		l := openLocal(t)
		base, err := built(t, l, packtype, keep, entries...)
		must(t, err)
		for _, filters := range []string{"", "uid=5", "gid=6", "mtime=@0", "sticky=ignore", "uid=0,gid=0,mtime=2010-01-01T00:00:00Z"} {
			all := keep
			for part := range strings.SplitSeq(filters, ",") {
				if key, _, ok := strings.Cut(part, "="); ok {
					all = strings.ReplaceAll(all, key+"=keep", part)
				}
			}
			if filters == "sticky=ignore" {
				all += "," + filters
			}
			want, err := built(t, openLocal(t), Tree, all, entries...)
			must(t, err)
			f, err := ParseFilters(filters)
			must(t, err)
			for range 2 { // making it again finds it
				got, err := Derive(ctx, l, base.ID, f)
				must(t, err)
				if got.Tree != want.Tree || got.ID.Packtype != Tree {
					t.Errorf("%s %q: got %s, want %s", packtype, filters, got.ID, want.ID)
				}
				must(t, Check(ctx, l, got.ID))
				if known, err := l.Get(derivedID(base.Tree, f.Over(KeepFilters()))); err != nil || known.Tree != got.ID {
					t.Errorf("it is remembered as %+v, %v", known, err)
				}
			}
			must(t, Check(ctx, l, base.ID))
		}
		a, err := os.Stat(l.Fileset(base) + "/g")
		must(t, err)
		if a.ModTime().Unix() != -1 {
			t.Errorf("the first ware's file is of %v", a.ModTime())
		}
	}
}

func TestDeriveFile(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	file := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(file, []byte("text"), 0o644))
	keep, err := ParseFilters("uid=1000,gid=100")
	must(t, err)
	base, err := Ingest(ctx, l, file, Options{Filters: keep})
	must(t, err)
	all, err := ParseFilters("uid=1000,gid=5")
	must(t, err)
	want, err := Scan(ctx, file, Options{Filters: all})
	must(t, err)
	five, err := ParseUnpackFilters("gid=5")
	must(t, err)
	got, err := Derive(ctx, l, base.ID, five)
	must(t, err)
	if got.ID != want.ID {
		t.Errorf("got %s, want %s", got.ID, want.ID)
	}
}

// TestOtherTree makes wares of one rio id that differ in what that leaves out: the
// second is refused, and the first stays.
func TestOtherTree(t *testing.T) {
	file := Entry{Path: "f", Kind: KindFile, Mode: 0o644}
	link := func(to string) Entry { return Entry{Path: "x", Kind: KindSymlink, Link: to} }
	for _, packtype := range []string{Tar, Zip} {
		for name, other := range map[string][]Entry{
			"target": {file, link("/etc/shadow")}, "no link": {file}, "hard link": {file, {Path: "x", Kind: KindHardlink, Link: "f"}},
			"fifo": {file, link("/etc/passwd"), {Path: "p", Kind: KindFifo, Mode: 0o644}},
		} {
			l := openLocal(t)
			first, err := built(t, l, packtype, "", file, link("/etc/passwd"))
			must(t, err)
			_, err = built(t, l, packtype, "", other...)
			var differ *warehouse.OtherTreeError
			if !errors.Is(err, warehouse.ErrOtherTree) || !errors.As(err, &differ) || differ.ID != first.ID || differ.Have != first.Tree {
				t.Errorf("%s, %s: %v", packtype, name, err)
			}
			must(t, Check(context.Background(), l, first.ID))
			if left, err := filepath.Glob(l.Dir() + "/stage/*/*"); len(left) > 0 || err != nil {
				t.Errorf("left %v, %v", left, err)
			}
			must(t, l.Remove(first.ID))
			_, err = built(t, l, packtype, "", other...)
			must(t, err)
		}
	}
}
