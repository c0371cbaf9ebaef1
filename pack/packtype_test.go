package pack

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/warehouse"
)

// TestPacktypes says what must change an id and what must not, for every packtype.
func TestPacktypes(t *testing.T) {
	ctx := context.Background()
	later := time.Unix(1600000000, 5)
	for _, c := range []struct {
		name    string
		filters string
		change  func(r string) error
		same    string // packtypes whose id stays
	}{
		{"nothing", "", func(string) error { return nil }, "tree tar"},
		{"content", "", func(r string) error { return os.WriteFile(r+"/a/b/c", []byte("Deep"), 0o644) }, ""},
		{"name", "", func(r string) error { return os.Rename(r+"/a/b/c", r+"/a/b/C") }, ""},
		{"place", "", func(r string) error { return os.Rename(r+"/a/b/c", r+"/a/c") }, ""},
		{"executable", "", func(r string) error { return os.Chmod(r+"/zero", 0o755) }, ""},
		{"group's bit", "", func(r string) error { return os.Chmod(r+"/zero", 0o664) }, ""},
		{"directory's mode", "", func(r string) error { return os.Chmod(r+"/a", 0o750) }, ""},
		{"root's mode", "", func(r string) error { return os.Chmod(r, 0o750) }, ""},
		{"sticky", "", func(r string) error { return unix.Chmod(r+"/a", 0o1755) }, ""},
		{"sticky ignored", "sticky=ignore", func(r string) error { return unix.Chmod(r+"/a", 0o1755) }, "tree tar"},
		{"empty directory", "", func(r string) error { return os.Remove(r + "/empty") }, ""},
		{"file for directory", "", func(r string) error {
			return errors.Join(os.Remove(r+"/empty"), os.WriteFile(r+"/empty", nil, 0o644))
		}, ""},
		{"mtime", "", func(r string) error { return os.Chtimes(r+"/zero", later, later) }, "tree tar"},
		{"mtime kept", "mtime=keep", func(r string) error { return os.Chtimes(r+"/zero", later, later) }, ""},
		{"nanoseconds kept", "mtime=keep", func(r string) error {
			return os.Chtimes(r+"/zero", later, time.Unix(defaultTime, 1))
		}, ""},
		{"atime kept nowhere", "mtime=keep", func(r string) error {
			return os.Chtimes(r+"/zero", later, time.Unix(defaultTime, 0))
		}, "tree tar"},
		{"hard link", "", func(r string) error {
			return errors.Join(os.Remove(r+"/zero"), os.WriteFile(r+"/o", nil, 0o644), os.Link(r+"/o", r+"/zero"), os.Remove(r+"/o"))
		}, "tree tar"},
		{"hole", "", func(r string) error {
			return errors.Join(os.Truncate(r+"/a-b", 0), os.Truncate(r+"/a-b", 1<<20))
		}, ""},
		{"xattr", "", func(r string) error {
			if err := unix.Setxattr(r+"/run", "user.kiln", []byte("x"), 0); err != unix.ENOTSUP {
				return err
			}
			return nil
		}, "tree tar"},
		// rio leaves these out: docs/formats.md, section 3.
		{"symlink's target", "", func(r string) error {
			return errors.Join(os.Remove(r+"/a/link"), os.Symlink("/etc/passwd", r+"/a/link"))
		}, "tar"},
		{"fifo", "dev=keep", func(r string) error { return unix.Mkfifo(r+"/p", 0o644) }, "tar"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, err := ParseFilters(c.filters)
			must(t, err)
			dir := t.TempDir()
			for _, packtype := range []string{Tree, Tar} {
				root := filepath.Join(dir, packtype)
				sample(t, root)
				still(t, root)
				o := Options{Packtype: packtype, Filters: f}
				before, err := Scan(ctx, root, o)
				must(t, err)
				must(t, c.change(root))
				if c.name != "mtime" && !strings.Contains(c.name, "kept") {
					still(t, root)
				}
				after, err := Scan(ctx, root, o)
				must(t, err)
				if same := strings.Contains(c.same, packtype); same != (before.ID == after.ID) {
					t.Errorf("%s: before %s, after %s", packtype, before.ID, after.ID)
				}
			}
		})
	}
}

// still gives everything below root the default mtime.
func still(t *testing.T, root string) {
	t.Helper()
	ts := unix.Timespec{Sec: defaultTime}
	must(t, filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		return errors.Join(err, unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
	}))
}

// TestIngestFull ingests more than the warehouse's file system has room for.
func TestIngestFull(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	if err := unix.Mount("kiln-test", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("a small file system needs root: ", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	l, err := warehouse.OpenLocal(dir)
	must(t, err)
	defer l.Close()
	src := t.TempDir()
	sample(t, src+"/small")
	must(t, os.WriteFile(src+"/large", make([]byte, 2<<20), 0o644))
	// One worker: of two, the other may be the one that finds no room.
	_, err = Ingest(ctx, l, src, Options{Jobs: 1})
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), `"large"`) {
		t.Errorf("got %v", err)
	}
	left, err := filepath.Glob(l.Dir() + "/stage/*/*")
	if len(left) > 0 || err != nil {
		t.Errorf("left %v, %v", left, err)
	}
	if _, err := Ingest(ctx, l, src+"/small", Options{}); err != nil {
		t.Error(err)
	}
}
