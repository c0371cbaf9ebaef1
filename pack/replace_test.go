package pack

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBuilderReplace puts layers over each other and expects the ids of what is left.
func TestBuilderReplace(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	b, err := NewBuilder(ctx, l, BuildOptions{Replace: true})
	must(t, err)
	defer b.Close()
	file := func(path, content string) {
		t.Helper()
		must(t, b.Add(&Entry{Path: path, Kind: KindFile, Mode: 0o644, Size: int64(len(content))}, strings.NewReader(content)))
	}
	file("d/old", "old")
	file("d/sub/deep", "deep")
	file("f", "first")
	file("turns/into/file", "x")
	must(t, b.Add(&Entry{Path: "turns", Kind: KindSymlink, Link: "f"}, nil))
	file("f", "second")
	must(t, b.Add(&Entry{Path: "f2", Kind: KindHardlink, Link: "f"}, nil))
	must(t, b.Add(&Entry{Path: "turns", Kind: KindDir, Mode: 0o700}, nil))
	must(t, b.Remove("nothing/here"))
	must(t, b.Clear("d"))
	file("d/new", "new")
	file("gone", "x")
	must(t, b.Remove("gone"))
	must(t, b.Add(&Entry{Path: "d", Kind: KindDir, Mode: 0o750}, nil))
	rec, err := b.Commit()
	must(t, err)

	dir := filepath.Join(t.TempDir(), "want")
	must(t, os.MkdirAll(filepath.Join(dir, "d"), 0o755))
	must(t, os.MkdirAll(filepath.Join(dir, "turns"), 0o755))
	for path, content := range map[string]string{"d/new": "new", "f": "second", "f2": "second"} {
		must(t, os.WriteFile(filepath.Join(dir, path), []byte(content), 0o644))
		must(t, os.Chmod(filepath.Join(dir, path), 0o644))
	}
	must(t, os.Chmod(filepath.Join(dir, "d"), 0o750))
	must(t, os.Chmod(filepath.Join(dir, "turns"), 0o700))
	must(t, os.Chmod(dir, 0o755))
	want, err := Scan(ctx, dir, Options{})
	must(t, err)
	if rec.Tree != want.Tree || rec.Entries != want.Entries || rec.Bytes != want.Bytes {
		t.Errorf("got %+v, want %+v", rec, want)
	}
	must(t, Check(ctx, l, rec.ID))
}

// TestBuilderRefuses expects errors for what no entry may be.
func TestBuilderRefuses(t *testing.T) {
	for name, add := range map[string]func(b *Builder) error{
		"twice": func(b *Builder) error {
			must(t, b.Add(&Entry{Path: "a", Kind: KindSymlink, Link: "x"}, nil))
			return b.Add(&Entry{Path: "a", Kind: KindSymlink, Link: "x"}, nil)
		},
		"remove without replace": func(b *Builder) error {
			must(t, b.Add(&Entry{Path: "a", Kind: KindSymlink, Link: "x"}, nil))
			return b.Remove("a")
		},
		"short content": func(b *Builder) error {
			return b.Add(&Entry{Path: "a", Kind: KindFile, Size: 5}, strings.NewReader("four"))
		},
		"no kind": func(b *Builder) error { return b.Add(&Entry{Path: "a"}, nil) },
	} {
		l := openLocal(t)
		b, err := NewBuilder(context.Background(), l, BuildOptions{})
		must(t, err)
		if err := add(b); err == nil || !strings.Contains(err.Error(), `"a"`) {
			t.Errorf("%s: %v", name, err)
		}
		must(t, b.Close())
		if left, _ := filepath.Glob(l.Dir() + "/stage/*/*"); len(left) > 0 {
			t.Errorf("%s: left %v", name, left)
		}
	}
}
