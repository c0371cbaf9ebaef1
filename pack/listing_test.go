package pack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// listLines writes the entries of a listing, one a line.
func listLines(t *testing.T, l *Listing) (lines []string) {
	t.Helper()
	root, err := l.Root()
	must(t, err)
	for e, err := range l.Below(root) {
		must(t, err)
		lines = append(lines, fmt.Sprintf("%c %04o %d:%d %d %d %s %s", e.Kind, e.Mode, e.UID, e.GID, e.Size, e.Sec, e.Path, e.Link))
	}
	return lines
}

func TestListing(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	src := filepath.Join(t.TempDir(), "src")
	sample(t, src)
	must(t, os.WriteFile(src+"/a/caf\xe9\n", nil, 0o600))
	filters, err := ParseFilters("uid=7,gid=4294967294,mtime=@-3")
	must(t, err)
	rec, err := Ingest(ctx, l, src, Options{Filters: filters})
	must(t, err)
	want := []string{
		"d 0755 7:4294967294 0 -3  ",
		"d 0755 7:4294967294 0 -3 a ",
		"d 0755 7:4294967294 0 -3 a/b ",
		"f 0644 7:4294967294 4 -3 a/b/c ",
		"f 0600 7:4294967294 0 -3 a/caf\xe9\n ",
		"L 0777 7:4294967294 0 -3 a/link ../a-b",
		"f 0644 7:4294967294 4 -3 a-b ",
		"d 0755 7:4294967294 0 -3 empty ",
		"f 0755 7:4294967294 10 -3 run ",
		"f 0644 7:4294967294 0 -3 zero ",
	}
	f, err := OpenFileset(ctx, l, rec)
	must(t, err)
	if got := listLines(t, f.Listing); !slices.Equal(got, want) {
		t.Errorf("of the ware:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	r, err := ReadFileset(ctx, src, Options{Filters: filters})
	must(t, err)
	if got := listLines(t, r.Listing); !slices.Equal(got, want) || r.ID != rec.ID {
		t.Errorf("of the directory, %s:\n%s", r.ID, strings.Join(got, "\n"))
	}
}

// TestListingRecord: without its Directory messages, a ware whose owners are the default is
// listed by hashing it; one that had others is refused.
func TestListingRecord(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	src := filepath.Join(t.TempDir(), "src")
	sample(t, src)
	for filters, ok := range map[string]bool{"": true, "uid=7": false} {
		o := Options{}
		var err error
		o.Filters, err = ParseFilters(filters)
		must(t, err)
		rec, err := Ingest(ctx, l, src, o)
		must(t, err)
		path := filepath.Join(l.Dir(), "record/tree", rec.ID.Hash+".json")
		data, err := os.ReadFile(path)
		must(t, err)
		var fields map[string]any
		must(t, json.Unmarshal(data, &fields))
		delete(fields, "dirs")
		data, err = json.Marshal(fields)
		must(t, err)
		must(t, os.WriteFile(path, data, 0o644))
		f, err := OpenFileset(ctx, l, rec)
		switch {
		case !ok && !errors.Is(err, ErrCorrupt):
			t.Errorf("%q: got %v", filters, err)
		case ok && (err != nil || len(listLines(t, f.Listing)) != 9):
			t.Errorf("%q: got %v", filters, err)
		}
	}
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	sample(t, dir)
	for name, target := range map[string]string{
		"up": "../../..", "abs": "/a/b", "loop": "loop", "ping": "pong", "pong": "ping", "out": "/../../a-b",
		"a/b/above": "../../run", "via": "abs/../a/link", "viadir": "abs/../link", "dangling": "nowhere", "wrong": "zero/x",
	} {
		must(t, os.Symlink(target, filepath.Join(dir, name)))
	}
	f, err := ReadFileset(context.Background(), dir, Options{})
	must(t, err)
	for path, want := range map[string]string{
		"": "", ".": "", "/": "", "..": "", "up": "", "a": "a", "a/": "a", "//a//b/c": "a/b/c", "abs/c": "a/b/c", "abs": "a/b",
		"out": "a-b", "a/link": "a-b", "a/b/above": "run", "abs/above": "run", "viadir": "a-b", "up/up/a-b": "a-b", "abs/../link": "a-b",
	} {
		if got, err := f.Resolve(path); err != nil || got.Path != want {
			t.Errorf("%q: got %q, %v; want %q", path, got.Path, err, want)
		}
	}
	for path, want := range map[string]string{
		"loop": "too far", "ping": "too far", "dangling": `no "nowhere"|"dangling" is not in it`, "wrong": `"zero" is no directory but a file`,
		"a/x/y": `its directory "a" has no "x"`, "b": `"b" is not in it`, "via": `no "a"`, "zero/..x": "no directory",
	} {
		_, err := f.Resolve(path)
		if err == nil || !slices.ContainsFunc(strings.Split(want, "|"), func(w string) bool { return strings.Contains(err.Error(), w) }) {
			t.Errorf("%q: got %v, want %q", path, err, want)
		}
	}
	if e, err := f.Lookup("a/link"); err != nil || e.Kind != KindSymlink {
		t.Errorf("looked up %c, %v", e.Kind, err)
	}
	if _, err := f.Lookup("abs/c"); err == nil || !strings.Contains(err.Error(), "a symlink") {
		t.Errorf("looked up through a symlink: %v", err)
	}
	var missing *NotFoundError
	if _, err := f.Resolve("a/B"); !errors.As(err, &missing) || !slices.Equal(missing.Has, []string{"b", "link"}) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// TestFilesetOpen reads content, and none that was changed.
func TestFilesetOpen(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	src := filepath.Join(t.TempDir(), "src")
	sample(t, src)
	rec, err := Ingest(ctx, l, src, Options{})
	must(t, err)
	f, err := OpenFileset(ctx, l, rec)
	must(t, err)
	e, err := f.Resolve("a/b/c")
	must(t, err)
	file, err := f.Open(ctx, e)
	must(t, err)
	data, err := io.ReadAll(file)
	file.Close()
	if string(data) != "deep" || err != nil {
		t.Errorf("read %q, %v", data, err)
	}
	if dir, err := f.Resolve("a"); err != nil {
		t.Error(err)
	} else if _, err := f.Open(ctx, dir); err == nil || !strings.Contains(err.Error(), "a directory") {
		t.Errorf("opened a directory: %v", err)
	}
	root := l.Fileset(rec)
	for _, change := range []func() error{
		func() error { return os.WriteFile(root+"/a/b/c", []byte("else"), 0o644) },
		func() error { return os.Rename(root+"/a", root+"/z") },
		func() error { return os.Symlink("z", root+"/a") },
	} {
		must(t, change())
		if _, err := f.Open(ctx, e); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), `"a/b/c"`) {
			t.Errorf("got %v", err)
		}
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	run, err := f.Resolve("run")
	must(t, err)
	if _, err := f.Open(cancelled, run); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// TestFilesetOfFile: a ware that is one file has it at its root.
func TestFilesetOfFile(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	path := filepath.Join(t.TempDir(), "run")
	must(t, os.WriteFile(path, []byte("go"), 0o755))
	rec, err := Ingest(ctx, l, path, Options{})
	must(t, err)
	for range 2 {
		f, err := OpenFileset(ctx, l, rec)
		must(t, err)
		e, err := f.Resolve("")
		must(t, err)
		if e.Kind != KindFile || e.Mode != 0o755 || e.Size != 2 || e.Name() != "." {
			t.Errorf("got %+v", e)
		}
		file, err := f.Open(ctx, e)
		must(t, err)
		file.Close()
		if _, err := f.Resolve("file"); err == nil {
			t.Error("found something below a file")
		}
	}
}

func FuzzListing(f *testing.F) {
	f.Add([]byte{0})
	f.Add([]byte("\x05\x0a\x03\x0a\x01f"))
	dir := f.TempDir()
	sample(f, dir)
	w, err := newWalk(context.Background(), Options{}, scanner{})
	must(f, err)
	w.keepDirs = true
	_, _, err = w.host(dir, -1)
	must(f, err)
	f.Add(w.dirs)
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := newListing(data)
		if err != nil {
			return
		}
		root, err := l.Root()
		if err != nil {
			return
		}
		for e, err := range l.Below(root) {
			if err == nil && (strings.Contains("/"+e.Path+"/", "/../") || strings.HasPrefix(e.Path, "/") || strings.Contains(e.Path, "\x00")) {
				t.Errorf("path %q", e.Path)
			}
		}
	})
}
