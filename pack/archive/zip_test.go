package archive

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// TestUnzip unpacks what Info-ZIP has packed, in each of its ways, and expects the id
// of the directory it packed.
func TestUnzip(t *testing.T) {
	ctx := context.Background()
	dir := sample(t)
	for name, args := range map[string][]string{
		"deflate": {"-r"}, "store": {"-0r"}, "bzip2": {"-rZ", "bzip2"}, "zip64": {"-rfz"}, "best": {"-9r"}, "comment": {"-rz"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "a.zip")
			run(t, "sh", "-c", "cd '"+dir+"' && echo comment | zip -q -y "+strings.Join(args, " ")+" '"+file+"' .")
			for _, packtype := range []string{pack.Tree, pack.Zip} {
				o := pack.Options{Packtype: packtype}
				want, err := pack.Scan(ctx, dir, o)
				must(t, err)
				l := openLocal(t)
				f, err := os.Open(file)
				must(t, err)
				defer f.Close()
				rec, err := Unpack(ctx, l, f, pack.BuildOptions{Options: o, Name: "a.zip"})
				must(t, err)
				if rec.ID != want.ID || rec.Tree != want.Tree || rec.Entries != want.Entries {
					t.Errorf("got %+v; want %+v", rec, want)
				}
				must(t, pack.Check(ctx, l, rec.ID))
			}
		})
	}
}

// TestUnzipStream unpacks through pipes, which zip also writes, and what comes behind
// a program.
func TestUnzipStream(t *testing.T) {
	ctx := context.Background()
	dir := sample(t)
	want, err := pack.Scan(ctx, dir, pack.Options{})
	must(t, err)
	file := filepath.Join(t.TempDir(), "a.zip")
	run(t, "sh", "-c", "cd '"+dir+"' && zip -q -y -r - . | cat >'"+file+"'")
	data, err := os.ReadFile(file)
	must(t, err)
	prepended := append([]byte("#!/bin/sh\nexec unzip \"$0\"\n"), data...)
	for name, r := range map[string]io.Reader{
		"pipe": io.MultiReader(bytes.NewReader(data)), "file": bytes.NewReader(data), "behind a program": bytes.NewReader(prepended),
	} {
		t.Run(name, func(t *testing.T) {
			l := openLocal(t)
			rec, err := Unpack(ctx, l, r, pack.BuildOptions{Name: "a.zip"})
			must(t, err)
			if rec.Tree != want.Tree {
				t.Errorf("got %s, want %s", rec.Tree, want.Tree)
			}
			left, err := filepath.Glob(l.Dir() + "/stage/*/*")
			if len(left) > 0 || err != nil {
				t.Errorf("left %v, %v", left, err)
			}
		})
	}
	if _, err := Unpack(ctx, openLocal(t), bytes.NewReader(prepended), pack.BuildOptions{Name: "a.sh"}); !errors.Is(err, ErrFormat) {
		t.Errorf("a program was taken for an archive: %v", err)
	}
}

// zipped makes a zip archive of headers; a file's content is its comment.
func zipped(t testing.TB, headers ...zip.FileHeader) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, h := range headers {
		content := h.Comment
		h.Comment = ""
		f, err := w.CreateHeader(&h)
		must(t, err)
		_, err = io.WriteString(f, content)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

func unzipBytes(t testing.TB, l *warehouse.Local, data []byte, o pack.BuildOptions) (warehouse.Record, error) {
	t.Helper()
	if o.Name == "" {
		o.Name = "evil.zip"
	}
	return Unpack(context.Background(), l, bytes.NewReader(data), o)
}

// TestUnzipForeign unpacks what was not made on Unix, as rio would.
func TestUnzipForeign(t *testing.T) {
	keep, err := pack.ParseFilters("uid=keep,gid=keep,mtime=keep")
	must(t, err)
	l := openLocal(t)
	at := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	unicode := binary.LittleEndian.AppendUint32([]byte{0x75, 0x70, 9, 0, 1}, crc32.ChecksumIEEE([]byte("\xfcx")))
	unicode = append(unicode, "\u0142x.."...)[:13]
	rec, err := unzipBytes(t, l, zipped(t,
		zip.FileHeader{Name: "dir/", ExternalAttrs: 0x10},
		zip.FileHeader{Name: `win\dows.txt`, Comment: "x", Modified: at},
		zip.FileHeader{Name: "read-only", ExternalAttrs: 1},
		zip.FileHeader{Name: "\x81ber", NonUTF8: true}, // ü in code page 437
		zip.FileHeader{Name: "\x81nix", NonUTF8: true, CreatorVersion: 3 << 8, ExternalAttrs: 0o100640 << 16},
		zip.FileHeader{Name: "\xfcx", NonUTF8: true, Extra: unicode},
		zip.FileHeader{Name: "mode", CreatorVersion: 3 << 8},
		zip.FileHeader{Name: "link", Comment: "../x", CreatorVersion: 3 << 8, ExternalAttrs: 0o120777 << 16},
		zip.FileHeader{Name: "café", CreatorVersion: 3 << 8, ExternalAttrs: 0o100755 << 16},
	), pack.BuildOptions{Options: pack.Options{Filters: keep}})
	must(t, err)
	root := l.Fileset(rec)
	for name, mode := range map[string]os.FileMode{
		"dir": os.ModeDir | 0o777, "win": os.ModeDir | 0o755, "win/dows.txt": 0o666, "read-only": 0o444, "über": 0o666, "łx.": 0o666,
		"\x81nix": 0o640, "mode": 0o666, "link": os.ModeSymlink | 0o777, "café": 0o755,
	} {
		info, err := os.Lstat(filepath.Join(root, name))
		if err != nil || info.Mode() != mode {
			t.Errorf("%q: %v, %v, want %v", name, info, err, mode)
		}
	}
	if info, err := os.Stat(root + "/win/dows.txt"); err != nil || !info.ModTime().Equal(at) {
		t.Errorf("mtime %v, %v", info.ModTime(), err)
	}
}

func TestUnzipHostile(t *testing.T) {
	file := func(name string) zip.FileHeader { return zip.FileHeader{Name: name, Comment: name} }
	unix := func(name, content string, mode uint32) zip.FileHeader {
		return zip.FileHeader{Name: name, Comment: content, CreatorVersion: 3 << 8, ExternalAttrs: mode << 16}
	}
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "canary"), []byte("alive"), 0o644))
	good := zipped(t, file("first"), file("second"), file("third"))
	patch := func(find string, nth, at int, with ...byte) []byte {
		data, pos := bytes.Clone(good), 0
		for range nth {
			pos += bytes.Index(data[pos:], []byte(find)) + len(find)
		}
		copy(data[pos-len(find)+at:], with)
		return data
	}
	const local, central = "PK\x03\x04", "PK\x01\x02"
	for name, c := range map[string]struct {
		data  []byte
		entry string // the error names it
	}{
		"dotdot":             {zipped(t, file("a/../../x")), "a/../../x"},
		"backslash":          {zipped(t, file(`..\x`)), "../x"},
		"absolute":           {zipped(t, file(outside+"/x")), outside + "/x"},
		"through symlink":    {zipped(t, unix("s", outside, 0o120777), file("s/x")), "s/x"},
		"over symlink":       {zipped(t, unix("s", outside+"/canary", 0o120777), file("s")), `"s"`},
		"twice":              {zipped(t, file("s"), file("s")), `"s"`},
		"device":             {zipped(t, unix("d", "", 0o020666)), `"d"`},
		"setuid":             {zipped(t, unix("u", "", 0o104755)), `"u"`},
		"long target":        {zipped(t, unix("s", strings.Repeat("x", 4096), 0o120777)), `"s"`},
		"no target":          {zipped(t, unix("s", "", 0o120777)), `"s"`},
		"directory of bytes": {zipped(t, unix("s", "x", 0o040755)), `"s"`},
		"other name":         {patch(local, 2, 30, 'S'), `"second"`},
		"other method":       {patch(local, 2, 8, 8), `"second"`},
		"other flags":        {patch(local, 2, 6, 9), `"second"`},
		"encrypted":          {bytesAt(patch(local, 2, 6, 9), central, 2, 8, 9), "encrypted"},
		"unknown method":     {bytesAt(patch(local, 2, 8, 9), central, 2, 10, 9), "deflate64"},
		"no header":          {patch(local, 2, 0, 'X'), `"second"`},
		"other place":        {patch(central, 2, 42, 0), `"second"`},
		"content changed":    {patch("second", 1, 8, 'X'), `"second"`},
		"larger than said":   {patch(central, 2, 24, 5), `"second"`},
		"smaller than said":  {patch(central, 2, 24, 200), `"second"`},
		"other checksum":     {patch(central, 2, 16, 1, 2, 3, 4), `"second"`},
		"beyond the end":     {patch(central, 3, 20, 0xff, 0xff), `"third"`},
		"entries overlap":    {overlapping(t), "bomb"},
		"too many":           {patch("PK\x05\x06", 1, 10, 0xff, 0xff), "damaged"},
		"more than it may":   {zipped(t, file("a"), file("b"), file("c"), file("d")), "3 allowed"},
		"truncated":          {good[:len(good)-10], "evil.zip"},
		"header only":        {good[:20], "evil.zip"},
	} {
		t.Run(name, func(t *testing.T) {
			l := openLocal(t)
			_, err := unzipBytes(t, l, c.data, pack.BuildOptions{MaxEntries: 3})
			if err == nil {
				t.Fatal("unpacked")
			}
			if !strings.Contains(err.Error(), c.entry) || !strings.Contains(err.Error(), "evil.zip") {
				t.Errorf("error does not name %s and archive: %v", c.entry, err)
			}
			nothingLeft(t, l)
			left, err := os.ReadDir(outside)
			must(t, err)
			if data, err := os.ReadFile(filepath.Join(outside, "canary")); len(left) != 1 || string(data) != "alive" || err != nil {
				t.Errorf("outside: %v, canary %q, %v", left, data, err)
			}
		})
	}
}

// bytesAt changes bytes behind the nth find.
func bytesAt(data []byte, find string, nth, at int, with ...byte) []byte {
	data, pos := bytes.Clone(data), 0
	for range nth {
		pos += bytes.Index(data[pos:], []byte(find)) + len(find)
	}
	copy(data[pos-len(find)+at:], with)
	return data
}

// overlapping makes an archive of two entries with one name, size and checksum that
// share their bytes.
func overlapping(t testing.TB) []byte {
	data := zipped(t, zip.FileHeader{Name: "a", Comment: "x"}, zip.FileHeader{Name: "a", Comment: "x"})
	return bytesAt(data, "PK\x01\x02", 2, 42, 0, 0, 0, 0)
}

// TestUnzipEmpty unpacks an archive of nothing: the end alone.
func TestUnzipEmpty(t *testing.T) {
	rec, err := unzipBytes(t, openLocal(t), zipped(t), pack.BuildOptions{Name: "empty.zip"})
	must(t, err)
	if rec.Entries != 1 {
		t.Errorf("got %+v", rec)
	}
}
