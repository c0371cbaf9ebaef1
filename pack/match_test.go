package pack

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestPatterns(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	src := t.TempDir()
	for _, f := range []string{"a.go", "b.txt", "src/c.go", "src/deep/d.go", "src/deep/e.txt", "build/f.go", ".git/config", "docs/g.md"} {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(src, f)), 0o755))
		must(t, os.WriteFile(filepath.Join(src, f), nil, 0o644))
	}
	// What is left out must not be looked at either.
	must(t, os.Mkdir(filepath.Join(src, "build/sub"), 0o755))
	must(t, listen(filepath.Join(src, "build/sub/s")))
	for _, c := range []struct{ include, exclude, want string }{
		{"", ".git build", "a.go b.txt docs docs/g.md src src/c.go src/deep src/deep/d.go src/deep/e.txt"},
		{"", "build **/*.go .git/", "b.txt docs docs/g.md src src/deep src/deep/e.txt"},
		{"**/*.go", "build", "a.go src src/c.go src/deep src/deep/d.go"},
		{"src", "", "src src/c.go src/deep src/deep/d.go src/deep/e.txt"},
		{"src", "src/deep", "src src/c.go"},
		{"./src/*/*.txt", "", "src src/deep src/deep/e.txt"},
		{"{src,docs}/*.{go,md}", "build", "docs docs/g.md src src/c.go"},
		{"src/{deep/d.go,c.go}", "", "src src/c.go src/deep src/deep/d.go"},
		{"{src,x}/{,deep/}c.go", "", "src src/c.go"},
		{"s{rc,}/{deep,}/{d,e}.txt", "", "src src/deep src/deep/e.txt"},
		{"none", "", ""},
		{".", "build", ".git .git/config a.go b.txt docs docs/g.md src src/c.go src/deep src/deep/d.go src/deep/e.txt"},
	} {
		o := Options{Include: strings.Fields(c.include), Exclude: strings.Fields(c.exclude)}
		rec, err := Ingest(ctx, l, src, o)
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		scanned, err := Scan(ctx, src, o)
		if err != nil || scanned.ID != rec.ID {
			t.Errorf("%+v: scan %v, %v; ingest %v", c, scanned, err, rec)
		}
		var got []string
		must(t, fs.WalkDir(os.DirFS(l.Fileset(rec)), ".", func(p string, _ fs.DirEntry, err error) error {
			if p != "." {
				got = append(got, p)
			}
			return err
		}))
		if strings.Join(got, " ") != c.want {
			t.Errorf("include %q, exclude %q:\n got %s\nwant %s", c.include, c.exclude, strings.Join(got, " "), c.want)
		}
	}
	// A directory that might lead to a match and does not is no part of the ware, whatever its mode.
	must(t, unix.Chmod(filepath.Join(src, "docs"), 0o2755))
	if _, err := Scan(ctx, src, Options{Include: []string{"**/*.go"}}); err != nil {
		t.Error(err)
	}
	if _, err := Scan(ctx, src, Options{Include: []string{"**/*.md"}}); err == nil || !strings.Contains(err.Error(), "docs") {
		t.Errorf("set-id directory with a match: %v", err)
	}
	for _, bad := range []string{"[", "", "{a"} {
		if _, err := Scan(ctx, src, Options{Exclude: []string{bad}}); err == nil || !strings.Contains(err.Error(), "pattern") {
			t.Errorf("pattern %q: %v", bad, err)
		}
	}
}

// TestPatternsLead checks what is not even opened: directories in which nothing can match.
func TestPatternsLead(t *testing.T) {
	for _, c := range []struct{ pattern, want string }{
		{"a/b/c", "a a/b"},
		{"a/**/c", "a a/**"},
		{"**", "**"},
		{"lib{,64}/{a,b}*/c", "lib{,64} lib{,64}/{a,b}*"},
		{"x/{a/b,c}/d", "x x/**"},
		{"x/{a,{b,c}}/d", "x x/**"},
		{`x/\{a,b}/d`, `x x/\{a,b}`},
		{"{**,a}/d", "**"},
	} {
		if got := strings.Join(leading(c.pattern), " "); got != c.want {
			t.Errorf("%s: %s, want %s", c.pattern, got, c.want)
		}
	}
}
