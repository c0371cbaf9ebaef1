package packtest

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	osexec "os/exec"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/archive"
)

// TestBytes unpacks tar streams whose bytes say what no writer of tar would. Each case
// changes a stream of three files; the second is called evil.
func TestBytes(t *testing.T) {
	ctx := context.Background()
	flood := ""
	for i := range 1000 {
		flood += record(fmt.Sprintf("SCHILY.xattr.user.%d", i), strings.Repeat("x", 500))
	}
	for name, c := range map[string]struct {
		data  []byte
		want  string // in the error; "" if it is taken
		names bool   // the error names the entry
	}{
		"as it is":              {header(t, func([]byte) {}), "", false},
		"size larger than all":  {header(t, func(h []byte) { copy(h[124:], "00010000000\x00") }), "truncated", true},
		"size of 8 EiB":         {header(t, func(h []byte) { copy(h[124:], "\x80\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff") }), "allowed", true},
		"size negative":         {header(t, func(h []byte) { copy(h[124:], bytes.Repeat([]byte{0xff}, 12)) }), "header", false},
		"size no number":        {header(t, func(h []byte) { copy(h[124:], "99999999999\x00") }), "header", false},
		"size smaller":          {header(t, func(h []byte) { copy(h[124:], "00000000000\x00") }), "header", false},
		"checksum":              {broken(t, func(h []byte) { h[0] ^= 1 }), "header", false},
		"mtime of ages":         {behind(t, tar.TypeXHeader, record("mtime", "9223372036854775807"), File("evil", "")), "", false}, // which the filters replace
		"mtime no number":       {behind(t, tar.TypeXHeader, record("mtime", "noon"), File("evil", "")), "header", false},
		"size that a PAX says":  {behind(t, tar.TypeXHeader, record("size", "99999999"), File("evil", "")), "truncated", true},
		"sparse of 1 EiB":       {sparse(t, "1152921504606846976", "1\n0\n8\n"), "allowed", true},
		"sparse beyond its end": {sparse(t, "8", "1\n4096\n8\n"), "header", false},
		"sparse overlapping":    {sparse(t, "100", "2\n0\n8\n4\n8\n"), "header", false},
		"sparse negative":       {sparse(t, "-5", "1\n0\n8\n"), "header", false},
		"sparse without a map":  {sparse(t, "100", "99999999\n"), "truncated", false},
		"sparse bomb":           {sparse(t, "34359738368", "1\n0\n8\n"), "bomb", true},
		"xattr flood":           {behind(t, tar.TypeXHeader, flood, File("evil", "")), "", false},
		"xattr flood of 2 MB":   {behind(t, tar.TypeXHeader, record("SCHILY.xattr.user.x", strings.Repeat("x", 2<<20)), File("evil", "")), "too long", false},
		"long name of 2 MB":     {behind(t, tar.TypeGNULongName, strings.Repeat("evil/", 2<<20/5), File("evil", "")), "too long", false},
		"null in a name":        {behind(t, tar.TypeXHeader, record("path", "evil\x00x"), File("evil", "")), "header", false},
		"xz of 4 GiB":           {xzWindow(t, 40), "dictionary", false},
		"xz of 64 MiB":          {xzWindow(t, 28), "", false},
		"zstd of 2 GiB":         {append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0x04, 21 << 3}, bytes.Repeat([]byte{1, 0, 0}, 50)...), "window", false},
	} {
		t.Run(name, func(t *testing.T) {
			y := newYard(t)
			rec, err := archive.Unpack(ctx, y.l, bytes.NewReader(c.data), pack.BuildOptions{Name: "bytes.tar"})
			y.alive(t)
			if err == nil {
				if c.want != "" {
					t.Errorf("taken, want %s", c.want)
				}
				must(t, pack.Check(ctx, y.l, rec.ID))
				return
			}
			if c.want == "" || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "bytes.tar") || c.names != strings.Contains(err.Error(), `"evil"`) {
				t.Error(err)
			}
			printable(t, err)
			NothingLeft(t, y.l)
		})
	}
}

// header returns a stream of which the second header was changed, and its checksum with it.
func header(t testing.TB, change func(h []byte)) []byte {
	data := broken(t, change)
	repair(data[1024:1536])
	return data
}

func broken(t testing.TB, change func(h []byte)) []byte {
	data := tarOf(t, tar.FormatUSTAR, plain(File("first", "x")), plain(File("evil", strings.Repeat("z", 600))), plain(File("last", "y")))
	change(data[1024:1536])
	return data
}

// plain is e with what the oldest format can say.
func plain(e Entry) Entry {
	e.ModTime = Then.Truncate(1e9)
	return e
}

// sparse returns a stream with a file that has holes, in GNU's format 1.0 of PAX: its
// size, and what its map says.
func sparse(t testing.TB, size, layout string) []byte {
	content := layout + strings.Repeat("\x00", 512-len(layout)) + "12345678"
	return behind(t, tar.TypeXHeader, record("GNU.sparse.major", "1")+record("GNU.sparse.minor", "0")+
		record("GNU.sparse.name", "evil")+record("GNU.sparse.realsize", size), File("GNUSparseFile.0/evil", content))
}

// record is one of a PAX header: its own length, a key and a value.
func record(key, value string) string {
	n := len(key) + len(value) + 3
	for len(fmt.Sprint(n))+len(key)+len(value)+3 != n {
		n++
	}
	return fmt.Sprintf("%d %s=%s\n", n, key, value)
}

// behind returns a stream with an entry behind a header that tells more of it, which the
// writer of archives would not write.
func behind(t testing.TB, typ byte, body string, e Entry) []byte {
	t.Helper()
	first := tarOf(t, tar.FormatUSTAR, plain(File("first", "x")))
	first = first[:1024]
	more := tarOf(t, tar.FormatUSTAR, plain(File("more", body)))
	more = more[:len(more)-1024]
	more[156] = typ
	repair(more[:512])
	return append(append(first, more...), tarOf(t, tar.FormatUSTAR, plain(e))...)
}

// xzWindow returns a small archive by xz whose block says that it needs a dictionary of
// this size: 28 is 64 MiB, 40 is 4 GiB less one.
func xzWindow(t testing.TB, size byte) []byte {
	t.Helper()
	cmd := osexec.Command("xz", "--check=crc32", "-c")
	cmd.Stdin, cmd.Stderr = bytes.NewReader(tarOf(t, tar.FormatPAX, File("evil", "x"))), os.Stderr
	data, err := cmd.Output()
	if err != nil {
		t.Skip("xz: ", err)
	}
	// The block's header is behind the stream's, of 12 bytes: its length in words,
	// flags, the filter's number 0x21, the size of its properties, and those.
	block := data[12 : 12+4*(1+int(data[12]))]
	at := bytes.Index(block, []byte{0x21, 0x01})
	if at < 0 {
		t.Fatalf("no filter in % x", block)
	}
	block[at+2] = size
	end := len(block) - 4
	binary.LittleEndian.PutUint32(block[end:], crc32.ChecksumIEEE(block[:end]))
	return data
}
