package pack

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// differences writes what Diff finds, one a line.
func differences(t *testing.T, a, b *Fileset, exclude ...string) (lines []string) {
	t.Helper()
	for d, err := range Diff(a.Listing, b.Listing, exclude) {
		must(t, err)
		what := strings.Join(d.What, ",")
		switch {
		case d.Old == nil:
			what = "added"
		case d.New == nil:
			what = "removed"
		}
		if d.Old != nil && d.Old.Path != d.Path || d.New != nil && d.New.Path != d.Path {
			t.Errorf("%q: old %v, new %v", d.Path, d.Old, d.New)
		}
		lines = append(lines, what+" "+d.Path)
	}
	return lines
}

func TestDiff(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	sample(t, a)
	sample(t, b)
	filters, err := ParseFilters("uid=keep,gid=keep")
	must(t, err)
	read := func(path string) *Fileset {
		f, err := ReadFileset(ctx, path, Options{Filters: filters})
		must(t, err)
		return f
	}
	if got := differences(t, read(a), read(b)); len(got) > 0 {
		t.Errorf("of the same: %q", got)
	}
	must(t, errors.Join(
		os.Chmod(b+"/a", 0o700),
		os.WriteFile(b+"/a/b/c", []byte("else"), 0o644),
		os.Chmod(b+"/a/b/c", 0o600),
		os.Remove(b+"/a/link"), os.Symlink("/", b+"/a/link"),
		os.Remove(b+"/run"), os.MkdirAll(b+"/run/sub", 0o755),
		os.Remove(b+"/empty"), os.WriteFile(b+"/empty", nil, 0o644),
		os.MkdirAll(b+"/new/sub", 0o755), os.WriteFile(b+"/new/sub/x", nil, 0o644),
		os.Remove(b+"/zero"),
	))
	want := []string{
		"mode a", "content,mode a/b/c", "target a/link", "type empty", "added new", "added new/sub", "added new/sub/x",
		"type run", "added run/sub", "removed zero",
	}
	if got := differences(t, read(a), read(b)); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	want = []string{
		"mode a", "target a/link", "type empty", "removed new", "removed new/sub", "type run", "added zero",
	}
	if got := differences(t, read(b), read(a), "**/x", "a/b", "run/*"); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	for d, err := range Diff(read(a).Listing, read(b).Listing, nil) { // stopping is allowed
		if must(t, err); d.Path == "new" {
			break
		}
	}
	for _, err := range Diff(read(a).Listing, read(b).Listing, []string{"["}) {
		if err == nil {
			t.Error("a malformed pattern was taken")
		}
	}
	if got := differences(t, read(a), read(b+"/empty")); len(got) < 2 || got[0] != "type " || got[1] != "removed a" {
		t.Errorf("of a directory and a file: %q", got)
	}
	if os.Getuid() == 0 {
		must(t, os.Chown(a+"/zero", 7, 8))
		if got := differences(t, read(a), read(b)); !slices.Contains(got, "removed zero") {
			t.Errorf("got %q", got)
		}
		must(t, os.Chown(b+"/a-b", 7, 8))
		if got := differences(t, read(a), read(b)); !slices.Contains(got, "owner a-b") {
			t.Errorf("got %q", got)
		}
	}
}
