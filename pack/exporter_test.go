package pack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// statLine writes what stat says of an entry: mode, owner, mtime.
func statLine(t *testing.T, path string) string {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%o %d:%d %d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec)
}

// TestExportFilters unpacks a ware whose entries had owners and set-id bits.
func TestExportFilters(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	dir := t.TempDir()
	src := dir + "/src"
	sample(t, src)
	must(t, os.Chmod(src+"/run", 0o755|os.ModeSetuid))
	must(t, os.Chmod(src+"/empty", 0o777|os.ModeSticky))
	must(t, unix.Mkfifo(src+"/fifo", 0o600))
	filters, err := ParseFilters("uid=7,gid=8,mtime=@1000,setid=keep,dev=keep")
	must(t, err)
	rec, err := Ingest(ctx, l, src, Options{Filters: filters})
	must(t, err)
	me := fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	root := os.Getuid() == 0
	for i, c := range []struct {
		filters string
		want    map[string]string // by path; "" for an error: a part of it
		asRoot  bool
	}{
		{"", map[string]string{
			".": "40755 " + me + " 1000", "run": "104755 " + me + " 1000", "empty": "41777 " + me + " 1000",
			"a/link": "120777 " + me + " 1000", "fifo": "10600 " + me + " 1000", "a/b/c": "100644 " + me + " 1000",
		}, false},
		{"setid=ignore,sticky=ignore,dev=ignore,mtime=@5", map[string]string{
			".": "40755 " + me + " 5", "run": "100755 " + me + " 5", "empty": "40777 " + me + " 5", "fifo": unix.ENOENT.Error(),
		}, false},
		{"setid=reject", map[string]string{"": `"run": its mode 4755 has a set-id bit`}, false},
		{"dev=reject", map[string]string{"": `"fifo": it is a named pipe`}, false},
		{"uid=follow,gid=follow", map[string]string{
			".": "40755 7:8 1000", "run": "104755 7:8 1000", "a": "40755 7:8 1000", "a/link": "120777 7:8 1000", "fifo": "10600 7:8 1000",
		}, true},
		{"uid=9", map[string]string{"a-b": "100644 9:0 1000", "run": "104755 9:0 1000"}, true},
	} {
		f, err := ParseUnpackFilters(c.filters)
		must(t, err)
		out := filepath.Join(dir, fmt.Sprint("out", i))
		err = Export(ctx, l, rec.ID, out, ExportOptions{Filters: f})
		switch {
		case c.asRoot && !root:
			if err == nil || !strings.Contains(err.Error(), "only root may") {
				t.Errorf("%q, not as root: %v", c.filters, err)
			}
			continue
		case c.want[""] != "":
			if err == nil || !strings.Contains(err.Error(), c.want[""]) {
				t.Errorf("%q: %v", c.filters, err)
			}
			continue
		}
		must(t, err)
		for path, want := range c.want {
			if got := statLine(t, filepath.Join(out, path)); got != want {
				t.Errorf("%q: %s: got %s, want %s", c.filters, path, got, want)
			}
		}
	}
	if left, err := filepath.Glob(dir + "/.kiln*"); len(left) > 0 || err != nil {
		t.Errorf("left %q, %v", left, err)
	}
}

// TestExportRepack: what is unpacked as it was packed gives the same ware, owners too.
func TestExportRepack(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	dir := t.TempDir()
	sample(t, dir+"/src")
	if os.Getuid() == 0 {
		must(t, os.Chown(dir+"/src/run", 1234, 5))
		must(t, os.Lchown(dir+"/src/a/link", 0, 6))
		must(t, os.Chown(dir+"/src/empty", 4294967294, 0))
	}
	rec, err := Ingest(ctx, l, dir+"/src", Options{Filters: KeepFilters()})
	must(t, err)
	must(t, Export(ctx, l, rec.ID, dir+"/out", ExportOptions{Filters: RioScanFilters()}))
	again, err := Scan(ctx, dir+"/out", Options{Filters: KeepFilters()})
	if err != nil || again.ID != rec.ID {
		t.Errorf("%s became %s, %v", rec.ID, again.ID, err)
	}
	must(t, os.WriteFile(l.Fileset(rec)+"/a/more", nil, 0o644))
	err = Export(ctx, l, rec.ID, dir+"/more", ExportOptions{})
	if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), `"a/more"`) {
		t.Errorf("with something more in it: %v", err)
	}
}
