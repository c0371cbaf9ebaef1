package archive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/pack"
)

// TestTarFormats unpacks each format that GNU tar writes, with what makes them differ:
// long names, holes, hard links.
func TestTarFormats(t *testing.T) {
	ctx := context.Background()
	dir := filepath.Join(t.TempDir(), "src")
	must(t, os.MkdirAll(dir+"/d", 0o755))
	must(t, os.WriteFile(dir+"/d/f", []byte("content"), 0o644))
	must(t, os.Symlink("d/f", dir+"/l"))
	for _, format := range []string{"v7", "ustar", "oldgnu", "gnu", "posix", "posix --sparse-version=0.0", "posix --sparse-version=0.1", "posix --sparse-version=1.0"} {
		t.Run(format, func(t *testing.T) {
			if format == "ustar" {
				must(t, os.MkdirAll(dir+"/"+strings.Repeat("u", 90), 0o755))
				must(t, os.WriteFile(dir+"/"+strings.Repeat("u", 90)+"/"+strings.Repeat("v", 90), nil, 0o644))
			}
			if strings.HasPrefix(format, "oldgnu") {
				must(t, os.WriteFile(dir+"/"+strings.Repeat("n", 255), []byte("n"), 0o600))
				must(t, os.Symlink(strings.Repeat("to/", 1000), dir+"/far"))
				f, err := os.Create(dir + "/holes")
				must(t, err)
				for _, at := range []int64{0, 1 << 20, 5<<20 + 100, 40 << 20} {
					_, err := f.WriteAt([]byte("data"), at)
					must(t, err)
				}
				must(t, errors.Join(f.Truncate(50<<20), f.Close()))
			}
			want, err := pack.Scan(ctx, dir, pack.Options{})
			must(t, err)
			file := filepath.Join(t.TempDir(), "a.tar")
			flags := " "
			if format != "v7" && format != "ustar" {
				flags = " -S "
			}
			run(t, "sh", "-c", "tar"+flags+"--format="+format+" -C '"+dir+"' -cf '"+file+"' .")
			info, err := os.Stat(file)
			if err != nil || info.Size() > 1<<20 {
				t.Fatalf("the archive has no holes: %v, %v", info, err)
			}
			f, err := os.Open(file)
			must(t, err)
			defer f.Close()
			rec, err := Unpack(ctx, openLocal(t), f, pack.BuildOptions{Name: "a.tar"})
			must(t, err)
			if rec.Tree != want.Tree {
				t.Errorf("got %s, want %s", rec.Tree, want.Tree)
			}
		})
	}
}

// tarBytes is stream as bytes.
func tarBytes(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	data, err := io.ReadAll(stream(t, headers...))
	must(t, err)
	return data
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(data)
	must(t, errors.Join(err, z.Close()))
	return b.Bytes()
}

// TestTarEnd takes an archive that is whole, in one or several gzip members and with
// more padding, and none that is cut short or goes on.
func TestTarEnd(t *testing.T) {
	whole := tarBytes(t, tar.Header{Name: "a", Typeflag: tar.TypeReg, Mode: 0o644}, tar.Header{Name: "zeros", Typeflag: tar.TypeDir, Mode: 0o755})
	body := len(whole) - 1024
	other := tarBytes(t, tar.Header{Name: "b", Typeflag: tar.TypeReg, Mode: 0o644})
	for name, c := range map[string]struct {
		data []byte
		want string // in the error; "" for none
	}{
		"whole":                     {whole, ""},
		"padded":                    {append(bytes.Clone(whole), make([]byte, 10240)...), ""},
		"one zero block":            {whole[:body+512], "no end mark"},
		"more than one":             {whole[:body+1023], "truncated"},
		"no zero block":             {whole[:body], "no end mark"},
		"in a header":               {whole[:body-100], "truncated"},
		"another archive behind":    {append(bytes.Clone(whole), other...), "follows its end mark"},
		"one byte behind":           {append(bytes.Clone(whole), 'x'), "follows its end mark"},
		"gzip":                      {gzipped(t, whole), ""},
		"gzip members":              {append(gzipped(t, whole[:700]), gzipped(t, whole[700:])...), ""},
		"gzip member of padding":    {append(gzipped(t, whole), gzipped(t, make([]byte, 512))...), ""},
		"gzip member behind":        {append(gzipped(t, whole), gzipped(t, other)...), "follows its end mark"},
		"gzip and something behind": {append(gzipped(t, whole), "garbage"...), "EOF"},
		"gzip cut":                  {gzipped(t, whole)[:len(gzipped(t, whole))-4], "unexpected EOF"},
		"gzip of one zero block":    {gzipped(t, whole[:body+512]), "no end mark"},
		"no entries":                {make([]byte, 1024), ""},
		"a disk":                    {append(make([]byte, 32<<10), "CD001"...), ErrFormat.Error()},
		"lz4":                       {[]byte("\x04\x22\x4d\x18 and so on"), "compressed by lz4"},
	} {
		t.Run(name, func(t *testing.T) {
			l := openLocal(t)
			_, err := Unpack(context.Background(), l, bytes.NewReader(c.data), pack.BuildOptions{Name: "a.tar"})
			if c.want == "" {
				must(t, err)
			} else if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "a.tar") {
				t.Errorf("got %v", err)
			}
			if c.want != "" {
				nothingLeft(t, l)
			}
		})
	}
}

// TestTarZerosCut cuts an archive whose last file ends in zeros, which are no end mark.
func TestTarZerosCut(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	must(t, w.WriteHeader(&tar.Header{Name: "z", Typeflag: tar.TypeReg, Mode: 0o644, Size: 5000}))
	_, err := w.Write(make([]byte, 5000))
	must(t, err)
	must(t, w.Flush())
	for _, o := range []pack.BuildOptions{{Name: "a.tar"}, {Name: "a.tar", Options: pack.Options{Exclude: []string{"z"}}}} {
		_, err := Unpack(context.Background(), openLocal(t), bytes.NewReader(b.Bytes()), o)
		if err == nil || !strings.Contains(err.Error(), "no end mark") {
			t.Errorf("got %v", err)
		}
	}
}

func TestTarGlobalHeader(t *testing.T) {
	global := func(key, value string) tar.Header {
		return tar.Header{Name: "pax_global_header", Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{key: value}}
	}
	file := tar.Header{Name: "f", Typeflag: tar.TypeReg, Mode: 0o644}
	plain, err := Unpack(context.Background(), openLocal(t), stream(t, file), pack.BuildOptions{Name: "a"})
	must(t, err)
	commented, err := Unpack(context.Background(), openLocal(t), stream(t, global("comment", "0123abcd"), file), pack.BuildOptions{Name: "a"})
	must(t, err)
	if plain.ID != commented.ID {
		t.Errorf("a comment changed the id from %s to %s", plain.ID, commented.ID)
	}
	if _, err := Unpack(context.Background(), openLocal(t), stream(t, global("path", "evil"), file), pack.BuildOptions{Name: "a"}); err == nil || !strings.Contains(err.Error(), "sets path") {
		t.Errorf("got %v", err)
	}
}
