package pack

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
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
	for _, bad := range []string{"[", "", "{a"} {
		if _, err := Scan(ctx, src, Options{Exclude: []string{bad}}); err == nil || !strings.Contains(err.Error(), "pattern") {
			t.Errorf("pattern %q: %v", bad, err)
		}
	}
}
