package pack

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/warehouse"
)

func TestCheckFindsChanges(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		change func(root string) error
		want   string // in the error; "" if the change does not count
	}{
		"content": {func(r string) error { return os.WriteFile(r+"/a/b/c", []byte("deeq"), 0o644) }, `"a/b/c": its content has changed`},
		"same mtime": {func(r string) error {
			then := time.Unix(defaultTime, 0)
			return errors.Join(os.WriteFile(r+"/a/b/c", []byte("deeq"), 0o644), os.Chtimes(r+"/a/b/c", then, then))
		}, `"a/b/c": its content has changed`},
		"mode":         {func(r string) error { return os.Chmod(r+"/run", 0o644) }, `"run": its mode`},
		"root's mode":  {func(r string) error { return os.Chmod(r, 0o700) }, `".": its mode`},
		"mtime":        {func(r string) error { return os.Chtimes(r+"/zero", time.Now(), time.Now()) }, `"zero": its mtime`},
		"removed":      {func(r string) error { return os.Remove(r + "/a-b") }, `"a-b": it is missing`},
		"added":        {func(r string) error { return os.WriteFile(r+"/empty/x", nil, 0o644) }, `"empty/x": it does not belong there`},
		"symlink":      {func(r string) error { return errors.Join(os.Remove(r+"/a/link"), os.Symlink("/etc", r+"/a/link")) }, `"a/link": it leads to "/etc"`},
		"other type":   {func(r string) error { return errors.Join(os.Remove(r+"/empty"), os.Symlink("a", r+"/empty")) }, `"empty": it is a symlink, not a directory`},
		"socket":       {func(r string) error { return listen(r + "/s") }, `socket`},
		"all gone":     {warehouse.RemoveTree, "no such file"},
		"touched only": {func(r string) error { return os.Chmod(r+"/zero", 0o644) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			l := openLocal(t)
			src := filepath.Join(t.TempDir(), "src")
			sample(t, src)
			rec, err := Ingest(ctx, l, src, Options{})
			must(t, err)
			must(t, Check(ctx, l, rec.ID))
			tick(t)
			must(t, c.change(l.Fileset(rec)))
			err = Check(ctx, l, rec.ID)
			if c.want == "" {
				must(t, err)
				after, err := l.Get(rec.ID)
				must(t, err)
				if after.Stamp == rec.Stamp {
					t.Error("the stamp was not renewed")
				}
				return
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), rec.ID.String()) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

// listen leaves a socket at path.
func listen(path string) error {
	// The path of a socket has at most 108 bytes: go through its directory.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	s, err := net.ListenUnix("unix", &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(path))})
	if err != nil {
		return err
	}
	s.SetUnlinkOnClose(false)
	return s.Close()
}

func TestRejected(t *testing.T) {
	ctx := context.Background()
	for name, c := range map[string]struct {
		make    func(root string) error
		filters string // that accept it, if any
		want    string
	}{
		"socket": {func(r string) error { return listen(r + "/a/s") }, "", `"a/s": it is a socket`},
		"fifo":   {func(r string) error { return unix.Mkfifo(r+"/a/p", 0o644) }, "dev=ignore", `"a/p": it is a named pipe`},
		"setuid": {func(r string) error { return unix.Chmod(r+"/run", 0o4755) }, "setid=ignore", `"run": its mode 4755`},
		"setgid": {func(r string) error { return unix.Chmod(r+"/a", 0o2755) }, "setid=ignore", `"a": its mode 2755`},
	} {
		t.Run(name, func(t *testing.T) {
			l := openLocal(t)
			staged, err := l.Stage("test")
			must(t, err)
			out := filepath.Join(staged, "out")
			sample(t, out)
			plain, err := Scan(ctx, out, Options{})
			must(t, err)
			must(t, c.make(out))
			_, scanErr := Scan(ctx, out, Options{})
			_, ingestErr := Ingest(ctx, l, out, Options{})
			_, adoptErr := Adopt(ctx, l, out, Options{})
			for _, err := range []error{scanErr, ingestErr, adoptErr} {
				if err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("got %v, want %s", err, c.want)
				}
			}
			if c.filters == "" {
				return
			}
			f, err := ParseFilters(c.filters)
			must(t, err)
			scanned, err := Scan(ctx, out, Options{Filters: f})
			must(t, err)
			ingested, err := Ingest(ctx, l, out, Options{Filters: f})
			must(t, err)
			must(t, l.Remove(ingested.ID))
			adopted, err := Adopt(ctx, l, out, Options{Filters: f})
			must(t, err)
			if scanned.ID != plain.ID || ingested.ID != plain.ID || adopted.ID != plain.ID {
				t.Errorf("without it %s; scan %s, ingest %s, adopt %s", plain.ID, scanned.ID, ingested.ID, adopted.ID)
			}
			must(t, Check(ctx, l, adopted.ID))
		})
	}
}

func TestAdoptBreaksLinks(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	staged, err := l.Stage("test")
	must(t, err)
	out := filepath.Join(staged, "out")
	sample(t, out)
	want, err := Scan(ctx, out, Options{})
	must(t, err)
	outside := filepath.Join(staged, "other")
	must(t, os.Link(filepath.Join(out, "a/b/c"), outside))
	rec, err := Adopt(ctx, l, out, Options{})
	must(t, err)
	if rec.ID != want.ID {
		t.Errorf("got %s, want %s", rec.ID, want.ID)
	}
	must(t, os.WriteFile(outside, []byte("evil"), 0o644))
	data, err := os.ReadFile(filepath.Join(l.Fileset(rec), "a/b/c"))
	if string(data) != "deep" || err != nil {
		t.Errorf("changed from outside: %q, %v", data, err)
	}
	must(t, Check(ctx, l, rec.ID))
	if after, _ := l.Get(rec.ID); after.Stamp != rec.Stamp {
		t.Error("the first check hashed the fileset again")
	}
}

func TestAdoptStripsXattrs(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	staged, err := l.Stage("test")
	must(t, err)
	out := filepath.Join(staged, "out")
	sample(t, out)
	for _, p := range []string{out, out + "/run", out + "/a"} {
		if err := unix.Setxattr(p, "user.overlay.opaque", []byte("y"), 0); err == unix.ENOTSUP {
			t.Skip("this file system has no user extended attributes")
		} else {
			must(t, err)
		}
	}
	rec, err := Adopt(ctx, l, out, Options{})
	must(t, err)
	for _, p := range []string{"", "/run", "/a"} {
		buf := make([]byte, 100)
		if n, err := unix.Listxattr(l.Fileset(rec)+p, buf); n > 0 && strings.Contains(string(buf[:n]), "user.") || err != nil {
			t.Errorf("%s has %q, %v", p, buf[:n], err)
		}
	}

	again, err := l.Stage("test")
	must(t, err)
	out = filepath.Join(again, "out")
	sample(t, out)
	must(t, unix.Setxattr(out+"/run", "user.overlay.metacopy", nil, 0))
	if _, err := Adopt(ctx, l, out, Options{}); !errors.Is(err, ErrLayered) || !strings.Contains(err.Error(), `"run"`) {
		t.Errorf("metacopy: %v", err)
	}
}

func TestAdoptOutside(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	staged, err := l.Stage("test")
	must(t, err)
	other := t.TempDir()
	sample(t, other)
	must(t, os.Symlink(other, filepath.Join(staged, "link")))
	for _, path := range []string{other, l.WorkDir(), l.Dir(), filepath.Join(staged, "link"), filepath.Join(staged, "link/a"), staged + "/missing"} {
		if _, err := Adopt(ctx, l, path, Options{}); err == nil {
			t.Errorf("adopted %s", path)
		}
	}
	if _, err := os.Stat(filepath.Join(other, "a/b/c")); err != nil {
		t.Error(err)
	}
}

func TestIngestIntoItself(t *testing.T) {
	l := openLocal(t)
	_, err := Ingest(context.Background(), l, l.Dir(), Options{})
	if err == nil || !strings.Contains(err.Error(), "exclude") {
		t.Errorf("got %v", err)
	}
	left, err := filepath.Glob(l.Dir() + "/stage/*/*")
	if len(left) > 0 || err != nil {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestOddNames hashes names that need care, and one directory per ordering.
func TestOddNames(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	names := []string{"new\nline", strings.Repeat("n", 255), " ", "*", `\`, "caf\xe9", "café", "\xff", "-", "...", "é", "file"}
	var ids []string
	for _, order := range []int{1, 5, 7} { // coprime to the number of names
		src := t.TempDir()
		must(t, os.Chmod(src, 0o755))
		for i := range names {
			name := names[i*order%len(names)]
			must(t, os.WriteFile(filepath.Join(src, name), []byte(name), 0o644))
			must(t, os.Symlink(name, filepath.Join(src, "l"+name[:min(len(name), 254)])))
			must(t, os.Mkdir(filepath.Join(src, "d"+name[:min(len(name), 254)]), 0o755))
		}
		rec, err := Ingest(ctx, l, src, Options{})
		must(t, err)
		must(t, Check(ctx, l, rec.ID))
		scanned, err := Scan(ctx, l.Fileset(rec), Options{})
		must(t, err)
		ids = append(ids, rec.ID.String(), scanned.ID.String())
	}
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("ids differ: %v", ids)
		}
	}
}

func TestDeep(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	const levels = 4000
	staged, err := l.Stage("test")
	must(t, err)
	must(t, os.Mkdir(staged+"/out", 0o755))
	fd, err := unix.Open(staged+"/out", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	for range levels {
		must(t, unix.Mkdirat(fd, "d", 0o755))
		next, err := openat(fd, "d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, err)
		unix.Close(fd)
		fd = next
	}
	leaf, err := openat(fd, "leaf", unix.O_WRONLY|unix.O_CREAT, 0o644)
	must(t, err)
	unix.Close(leaf)
	unix.Close(fd)
	scanned, err := Scan(ctx, staged+"/out", Options{})
	must(t, err)
	if scanned.Entries != levels+2 {
		t.Errorf("%d entries, want %d", scanned.Entries, levels+2)
	}
	ingested, err := Ingest(ctx, l, staged+"/out", Options{Exclude: []string{"nothing"}})
	must(t, err)
	must(t, Check(ctx, l, ingested.ID))
	must(t, l.Remove(ingested.ID))
	adopted, err := Adopt(ctx, l, staged+"/out", Options{})
	must(t, err)
	if ingested.ID != scanned.ID || adopted.ID != scanned.ID {
		t.Errorf("scan %s, ingest %s, adopt %s", scanned.ID, ingested.ID, adopted.ID)
	}
}

func TestCancel(t *testing.T) {
	l := openLocal(t)
	src := filepath.Join(t.TempDir(), "src")
	sample(t, src)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Ingest(ctx, l, src, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	left, err := filepath.Glob(l.Dir() + "/stage/*/*")
	if len(left) > 0 || err != nil {
		t.Errorf("left %v, %v", left, err)
	}
}

// TestChangedWareIsReplaced: what is packed anew is the ware, not what somebody made
// of the fileset that was there.
func TestChangedWareIsReplaced(t *testing.T) {
	ctx := context.Background()
	for name, pack := range map[string]func(l *warehouse.Local, src string) (warehouse.Record, error){
		"ingest": func(l *warehouse.Local, src string) (warehouse.Record, error) { return Ingest(ctx, l, src, Options{}) },
		"adopt": func(l *warehouse.Local, src string) (warehouse.Record, error) {
			staged, err := l.Stage("test")
			if err != nil {
				return warehouse.Record{}, err
			}
			if err := os.CopyFS(staged+"/out", os.DirFS(src)); err != nil {
				return warehouse.Record{}, err
			}
			return Adopt(ctx, l, staged+"/out", Options{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			l, src := openLocal(t), t.TempDir()
			must(t, os.WriteFile(src+"/a", []byte("right"), 0o644))
			rec, err := pack(l, src)
			must(t, err)
			file := l.Fileset(rec) + "/a"
			must(t, os.WriteFile(file, []byte("wrong"), 0o644))
			again, err := pack(l, src)
			must(t, err)
			if text, err := os.ReadFile(file); err != nil || string(text) != "right" || again.ID != rec.ID {
				t.Errorf("%s holds %q (%v)", again.ID, text, err)
			}
			must(t, Check(ctx, l, rec.ID))
		})
	}
}
