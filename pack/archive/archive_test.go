package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openLocal(t testing.TB) *warehouse.Local {
	t.Helper()
	dir := t.TempDir()
	l, err := warehouse.OpenLocal(filepath.Join(dir, "warehouse"))
	must(t, err)
	t.Cleanup(func() {
		l.Close()
		must(t, warehouse.RemoveTree(dir))
	})
	return l
}

func sample(t testing.TB) string {
	dir := filepath.Join(t.TempDir(), "pkg-1.0")
	must(t, os.MkdirAll(filepath.Join(dir, "src/empty"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "README"), []byte("read me\n"), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "src/big"), bytes.Repeat([]byte("0123456789abcdef"), 1<<16), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "src/"+strings.Repeat("n", 200)), nil, 0o600))
	must(t, os.Chmod(filepath.Join(dir, "src/big"), 0o755))
	must(t, os.Symlink("/etc/passwd", filepath.Join(dir, "src/link")))
	return dir
}

// TestUnpackFormats unpacks what GNU tar has packed and expects the id of the
// directory it packed.
func TestUnpackFormats(t *testing.T) {
	ctx := context.Background()
	dir := sample(t)
	for _, packtype := range []string{pack.Tree, pack.Tar} {
		o := pack.Options{Packtype: packtype}
		want, err := pack.Scan(ctx, dir, o)
		must(t, err)
		for _, format := range []string{"", "gzip", "bzip2", "xz", "zstd"} {
			t.Run(packtype+"/"+format, func(t *testing.T) {
				l := openLocal(t)
				file := tarball(t, dir, format)
				f, err := os.Open(file)
				must(t, err)
				defer f.Close()
				rec, err := Unpack(ctx, l, f, pack.BuildOptions{Options: o, Name: filepath.Base(file)})
				must(t, err)
				if rec.ID != want.ID || rec.Tree != want.Tree {
					t.Errorf("got %s, %s; want %s, %s", rec.ID, rec.Tree, want.ID, want.Tree)
				}
				if rec.Entries != want.Entries || rec.Bytes != want.Bytes {
					t.Errorf("got %d entries, %d bytes; want %d, %d", rec.Entries, rec.Bytes, want.Entries, want.Bytes)
				}
				must(t, pack.Check(ctx, l, rec.ID))
				if after, _ := l.Get(rec.ID); after.Stamp != rec.Stamp {
					t.Error("the first check hashed the fileset again")
				}
				onDisk, err := pack.Scan(ctx, l.Fileset(rec), o)
				must(t, err)
				if onDisk.ID != want.ID {
					t.Errorf("on disk it is %s", onDisk.ID)
				}
			})
		}
	}
}

func tarball(t testing.TB, dir, format string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a.tar")
	args := []string{"-C", dir, "-cf", file, "."}
	if format != "" {
		if _, err := exec.LookPath(format); err != nil {
			t.Skip(format + " is not installed")
		}
		args = append([]string{"--" + format}, args...)
	}
	out, err := exec.Command("tar", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	return file
}

func TestUnpackTruncated(t *testing.T) {
	ctx := context.Background()
	dir := sample(t)
	for _, format := range []string{"", "gzip", "bzip2", "xz", "zstd"} {
		t.Run(format, func(t *testing.T) {
			data, err := os.ReadFile(tarball(t, dir, format))
			must(t, err)
			if format == "" { // GNU tar pads to 10 KiB
				data = bytes.TrimRight(data, "\x00")
			}
			for _, keep := range []int{1, len(data) / 2, len(data) - 3} {
				l := openLocal(t)
				_, err := Unpack(ctx, l, bytes.NewReader(data[:keep]), pack.BuildOptions{Name: "a"})
				if err == nil {
					t.Errorf("unpacked %d of %d bytes", keep, len(data))
				}
				nothingLeft(t, l)
			}
		})
	}
}

func nothingLeft(t *testing.T, l *warehouse.Local) {
	t.Helper()
	left, err := filepath.Glob(l.Dir() + "/stage/*/*")
	must(t, err)
	if len(left) > 0 {
		t.Errorf("left in the work directory: %v", left)
	}
	if recs, err := l.List(context.Background()); len(recs) > 0 || err != nil {
		t.Errorf("left in the warehouse: %v, %v", recs, err)
	}
}

func TestUnpackNoArchive(t *testing.T) {
	for _, data := range []string{"", "x", "#!/bin/sh\n", strings.Repeat("text ", 1000), "\x1f\x8b", "BZh91AY&SY garbage", "\x28\xb5\x2f\xfd"} {
		_, err := Unpack(context.Background(), openLocal(t), strings.NewReader(data), pack.BuildOptions{Name: "a"})
		if err == nil {
			t.Errorf("%q: unpacked", data)
		}
		if !strings.Contains(data, "\x8b") && !strings.Contains(data, "\xfd") && !strings.HasPrefix(data, "BZh") && !errors.Is(err, ErrFormat) {
			t.Errorf("%q: %v", data, err)
		}
	}
}

// stream makes a tar stream of headers; a file's content is its name.
func stream(t *testing.T, headers ...tar.Header) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		must(t, w.WriteHeader(&h))
		if h.Typeflag == tar.TypeReg {
			_, err := io.WriteString(w, h.Name)
			must(t, err)
		}
	}
	must(t, w.Close())
	return &b
}

func TestUnpackHostile(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644} }
	dir := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755} }
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeSymlink, Mode: 0o777}
	}
	hard := func(name, to string) tar.Header { return tar.Header{Name: name, Linkname: to, Typeflag: tar.TypeLink} }
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "canary"), []byte("alive"), 0o644))
	for name, c := range map[string]struct {
		entries []tar.Header
		entry   string // the error names it
	}{
		"dotdot":             {[]tar.Header{file("a/../../x")}, "a/../../x"},
		"absolute":           {[]tar.Header{file(outside + "/x")}, outside + "/x"},
		"through symlink":    {[]tar.Header{link("s", outside), file("s/x")}, "s/x"},
		"over symlink":       {[]tar.Header{link("s", outside+"/canary"), file("s")}, `"s"`},
		"symlink over dir":   {[]tar.Header{file("s/x"), link("s", outside)}, `"s"`},
		"dir over symlink":   {[]tar.Header{link("s", outside), dir("s/")}, `"s/"`},
		"dir over file":      {[]tar.Header{file("s"), dir("s")}, `"s"`},
		"file over dir":      {[]tar.Header{dir("s"), file("s")}, `"s"`},
		"below a file":       {[]tar.Header{file("s"), file("s/x")}, "s/x"},
		"file twice":         {[]tar.Header{file("s"), file("s")}, `"s"`},
		"dir twice":          {[]tar.Header{dir("s"), {Name: "s", Typeflag: tar.TypeDir, Mode: 0o700}}, `"s"`},
		"hardlink outside":   {[]tar.Header{hard("h", outside+"/canary")}, `"h"`},
		"hardlink dotdot":    {[]tar.Header{hard("h", "../canary")}, `"h"`},
		"hardlink symlink":   {[]tar.Header{link("s", outside+"/canary"), hard("h", "s")}, `"h"`},
		"hardlink through":   {[]tar.Header{link("s", outside), hard("h", "s/canary")}, `"h"`},
		"hardlink ahead":     {[]tar.Header{hard("h", "f"), file("f")}, `"h"`},
		"root is a file":     {[]tar.Header{file(".")}, `"."`},
		"device":             {[]tar.Header{{Name: "d", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}}, `"d"`},
		"fifo":               {[]tar.Header{{Name: "p", Typeflag: tar.TypeFifo}}, `"p"`},
		"setuid":             {[]tar.Header{{Name: "u", Typeflag: tar.TypeReg, Mode: 0o4755}}, `"u"`},
		"long name":          {[]tar.Header{file(strings.Repeat("n", 256))}, "nnn"},
		"more than it may":   {[]tar.Header{file(strings.Repeat("a/", 40) + "x")}, "a/a"},
		"large than it may":  {[]tar.Header{file(strings.Repeat("n", 200)), file(strings.Repeat("m", 200))}, "mmm"},
		"unknown type":       {[]tar.Header{{Name: "v", Typeflag: 'V'}}, `"v"`},
		"owner out of range": {[]tar.Header{{Name: "o", Typeflag: tar.TypeReg, Uid: 1 << 40, Format: tar.FormatPAX}}, `"o"`},
	} {
		t.Run(name, func(t *testing.T) {
			l := openLocal(t)
			_, err := Unpack(context.Background(), l, stream(t, c.entries...),
				pack.BuildOptions{Name: "evil.tar", MaxEntries: 30, MaxBytes: 300})
			if err == nil {
				t.Fatal("unpacked")
			}
			if !strings.Contains(err.Error(), c.entry) || !strings.Contains(err.Error(), "evil.tar") {
				t.Errorf("error does not name entry and archive: %v", err)
			}
			nothingLeft(t, l)
			left, err := os.ReadDir(outside)
			must(t, err)
			data, err := os.ReadFile(filepath.Join(outside, "canary"))
			if len(left) != 1 || string(data) != "alive" || err != nil {
				t.Errorf("outside: %v, canary %q, %v", left, data, err)
			}
		})
	}
}

func TestUnpackHardlink(t *testing.T) {
	l := openLocal(t)
	rec, err := Unpack(context.Background(), l, stream(t,
		tar.Header{Name: "d/f", Typeflag: tar.TypeReg, Mode: 0o644},
		tar.Header{Name: "h", Linkname: "d/f", Typeflag: tar.TypeLink},
	), pack.BuildOptions{Name: "a"})
	must(t, err)
	data, err := os.ReadFile(filepath.Join(l.Fileset(rec), "h"))
	if string(data) != "d/f" || err != nil {
		t.Errorf("got %q, %v", data, err)
	}
	a, err := os.Stat(filepath.Join(l.Fileset(rec), "h"))
	must(t, err)
	b, err := os.Stat(filepath.Join(l.Fileset(rec), "d/f"))
	must(t, err)
	if os.SameFile(a, b) {
		t.Error("two names share a file")
	}
}

func TestUnpackStripAndPatterns(t *testing.T) {
	l := openLocal(t)
	rec, err := Unpack(context.Background(), l, stream(t,
		tar.Header{Name: "top/", Typeflag: tar.TypeDir, Mode: 0o700},
		tar.Header{Name: "top/doc/", Typeflag: tar.TypeDir, Mode: 0o750},
		tar.Header{Name: "top/doc/a.md", Typeflag: tar.TypeReg, Mode: 0o644},
		tar.Header{Name: "top/doc/b.txt", Typeflag: tar.TypeReg, Mode: 0o644},
		tar.Header{Name: "top/none/", Typeflag: tar.TypeDir, Mode: 0o755},
		tar.Header{Name: "top/c.md", Typeflag: tar.TypeReg, Mode: 0o644},
	), pack.BuildOptions{Name: "a", Strip: 1, Options: pack.Options{Include: []string{"*/*.md"}}})
	must(t, err)
	var got []string
	root := l.Fileset(rec)
	must(t, filepath.Walk(root, func(p string, info os.FileInfo, err error) error {
		rel, _ := filepath.Rel(root, p)
		got = append(got, info.Mode().String()+" "+rel)
		return err
	}))
	want := "drwxr-xr-x .,drwxr-x--- doc,-rw-r--r-- doc/a.md"
	if strings.Join(got, ",") != want {
		t.Errorf("got %v", got)
	}
}

// TestUnpackBomb expects the default limits to stop a small archive of many zeros.
func TestUnpackBomb(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "zeros"))
	must(t, err)
	must(t, f.Truncate(pack.RatioFloor+1<<20))
	must(t, f.Close())
	l := openLocal(t)
	packed, err := os.Open(tarball(t, dir, "zstd"))
	must(t, err)
	defer packed.Close()
	_, err = Unpack(context.Background(), l, packed, pack.BuildOptions{Name: "bomb.tar.zst"})
	if err == nil || !strings.Contains(err.Error(), "bomb.tar.zst") || !strings.Contains(err.Error(), "zeros") || !strings.Contains(err.Error(), "1000 times") {
		t.Errorf("got %v", err)
	}
	nothingLeft(t, l)
	_, err = packed.Seek(0, io.SeekStart)
	must(t, err)
	_, err = Unpack(context.Background(), l, packed, pack.BuildOptions{Name: "large.tar.zst", MaxRatio: -1})
	must(t, err)
}
