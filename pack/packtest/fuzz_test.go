package packtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/archive"
	"github.com/kilnbuild/kiln/warehouse"
)

// A pen is a yard for many inputs: looking whether all is alive costs little.
type pen struct {
	*yard
	f *testing.F
}

func newPen(f *testing.F) *pen { return &pen{newYard(f), f} }

// atRest are filters that keep what counts of a fileset at rest: all but its owner.
const atRest = "uid=0,gid=0,mtime=keep,sticky=keep,setid=keep,dev=keep"

// check is the property of all that reads packed wares: what was taken is whole,
// scans to the id that was told of it, and packed again it has the same; nothing is
// left of what was refused; nothing outside has changed.
func (y *pen) check(t *testing.T, rec warehouse.Record, err error) {
	t.Helper()
	ctx := context.Background()
	if err == nil {
		f, err := pack.ParseFilters(atRest)
		must(t, err)
		got, err := pack.Scan(ctx, y.l.Fileset(rec), pack.Options{Filters: f})
		// Directories that nobody may read can be made, but only root scans them.
		if err != nil && os.Geteuid() == 0 || err == nil && (got.Tree != rec.Tree || got.Entries != rec.Entries || got.Bytes != rec.Bytes) {
			t.Errorf("unpacked %+v, which scans to %+v, %v", rec, got, err)
		}
		if err == nil {
			y.repack(t, rec, f)
		}
		must(t, y.l.Remove(rec.ID))
	} else {
		printable(t, err)
	}
	left, _ := filepath.Glob(y.dir + "/warehouse/stage/*/*")
	beside, _ := os.ReadDir(y.dir)
	canary, _ := os.ReadFile(y.dir + "/canary")
	if len(left) > 0 || len(beside) != 3 || string(canary) != "alive" {
		t.Fatalf("left %q, beside %v, canary %q", left, beside, canary)
	}
}

// repack writes a ware as a tar archive, unpacks that, and expects the same ware.
func (y *pen) repack(t *testing.T, rec warehouse.Record, f pack.Filters) {
	t.Helper()
	ctx := context.Background()
	var b bytes.Buffer
	must(t, archive.Write(ctx, y.l, rec.ID, &b, archive.Format{}))
	again, err := archive.Unpack(ctx, y.l, &b, pack.BuildOptions{Name: "repacked", Options: pack.Options{Filters: f}})
	if err != nil || again.Tree != rec.Tree {
		t.Errorf("repacked %+v, got %+v, %v", rec, again, err)
	}
	if err == nil && again.ID != rec.ID {
		must(t, y.l.Remove(again.ID))
	}
}

// choices makes decisions out of the bytes of an input; of what there is no more it
// decides 0.
type choices []byte

func (c *choices) one(n int) int {
	if len(*c) == 0 {
		return 0
	}
	v := int((*c)[0]) % n
	*c = (*c)[1:]
	return v
}

var components = []string{"a", "b", "c", "dir", "..", ".", "", "caf\xe9", "\x1b[2J", strings.Repeat("n", 255), strings.Repeat("n", 256), "A"}

func (c *choices) path() string {
	var parts []string
	for range 1 + c.one(4) {
		parts = append(parts, components[c.one(len(components)*2)%8*c.one(2)%len(components)+c.one(3)])
	}
	return strings.Join(parts, "/")
}

var (
	kinds = []pack.Kind{pack.KindFile, pack.KindDir, pack.KindSymlink, pack.KindHardlink, pack.KindFile, pack.KindDir, pack.KindFifo, pack.KindChar}
	times = []int64{1_000_000_000, 0, -1, 1 << 31, 1 << 34, 1 << 60, -1 << 40, 1_262_304_000}
	modes = []uint32{0o644, 0o755, 0o600, 0o700, 0o1777, 0o4755, 0o2755, 0o555, 0, 0o7777}
)

// FuzzBuild gives a Builder entries in any order, and in layers.
func FuzzBuild(f *testing.F) {
	for i := range byte(40) {
		seed := bytes.Repeat([]byte{i, 3 * i, 7 * i, 11, i ^ 5, 1, 0, 2}, 12)
		f.Add(seed)
	}
	y := newPen(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		c := choices(data)
		filters, err := pack.ParseFilters([]string{"", "mtime=keep,setid=keep,dev=keep", "mtime=keep,setid=ignore,dev=ignore,sticky=ignore"}[c.one(3)])
		must(t, err)
		o := pack.BuildOptions{Name: "fuzz", MaxBytes: 4 << 20, MaxEntries: 100, Strip: c.one(8) / 6, Replace: c.one(2) == 1}
		o.Options = pack.Options{Filters: filters, Packtype: []string{pack.Tree, pack.Tar}[c.one(2)]}
		if c.one(4) == 3 {
			o.Include = []string{"a", "*/b", "dir/**"}[c.one(3):]
		}
		if c.one(8) == 7 {
			o.Exclude = []string{"**/c", "a/b"}
		}
		rec, err := build(y.l, o, &c)
		y.check(t, rec, err)
	})
}

func build(l *warehouse.Local, o pack.BuildOptions, c *choices) (rec warehouse.Record, err error) {
	b, err := pack.NewBuilder(context.Background(), l, o)
	if err != nil {
		return rec, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	for len(*c) > 0 {
		switch op := c.one(16); {
		case op == 15 && o.Replace:
			err = b.Remove(c.path())
		case op == 14 && o.Replace:
			err = b.Clear(c.path())
		default:
			e := pack.Entry{
				Path: c.path(), Kind: kinds[c.one(len(kinds))], Mode: modes[c.one(len(modes))], UID: uint32(c.one(3)),
				Sec: times[c.one(len(times))], Nsec: uint32(c.one(2) * 999_999_999),
			}
			var content io.Reader
			switch e.Kind {
			case pack.KindSymlink, pack.KindHardlink:
				e.Link = c.path()
			case pack.KindFile:
				size := []int{0, 1, 300, 300 << 10, 1 << 20}[c.one(20)/4]
				content = strings.NewReader(strings.Repeat(string(rune('x'+c.one(2))), size))
				if e.Size = int64(size); c.one(20) == 19 {
					e.Size++ // a header that lies
				}
			}
			err = b.Add(&e, content)
		}
		if err != nil {
			return rec, fmt.Errorf("unpack %s: %w", o.Name, err)
		}
	}
	return b.Commit()
}

// FuzzTar unpacks damaged tar archives of which the headers' checksums were made right.
func FuzzTar(f *testing.F) {
	for _, entries := range accepted() {
		f.Add(tarOf(f, tar.FormatPAX, place(entries, "/x")...))
	}
	for name, c := range refused(0) {
		if name != "far too deep" {
			f.Add(tarOf(f, tar.FormatUnknown, place(c.fileset, "/x")...))
		}
	}
	f.Add(tarOf(f, tar.FormatGNU, File(strings.Repeat("long/", 40)+"name", "content")))
	y := newPen(f)
	keep, err := pack.ParseFilters("mtime=keep,setid=keep,dev=keep")
	must(f, err)
	f.Fuzz(func(t *testing.T, data []byte) {
		repair(data)
		rec, err := archive.Unpack(context.Background(), y.l, bytes.NewReader(data),
			pack.BuildOptions{Name: "fuzz", MaxBytes: 1 << 20, MaxEntries: 100, Options: pack.Options{Filters: keep}})
		y.check(t, rec, err)
	})
}

func tarOf(t testing.TB, format tar.Format, entries ...Entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.Format = format; format == tar.FormatGNU {
			e.ModTime = e.ModTime.Truncate(time.Second)
		}
		must(t, w.WriteHeader(&e.Header))
		_, err := io.WriteString(w, e.Content)
		must(t, err)
	}
	must(t, w.Close())
	return b.Bytes()
}

// repair makes the checksum right of each block that a tar reader would take for a
// header.
func repair(data []byte) {
	for len(data) >= 512 {
		h := data[:512]
		if bytes.Count(h, []byte{0}) == 512 {
			data = data[512:]
			continue
		}
		copy(h[148:156], "        ")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:156], fmt.Sprintf("%06o\x00 ", sum))
		var size int
		fmt.Sscanf(string(bytes.Trim(h[124:136], " \x00")), "%o", &size)
		skip := 512 + (size+511)/512*512
		if size < 0 || skip > len(data) {
			return
		}
		data = data[skip:]
	}
}

// FuzzCompressed unpacks whatever comes of compressed archives. Its seeds in testdata
// were made by the tools that people use.
func FuzzCompressed(f *testing.F) {
	plain := tarOf(f, tar.FormatPAX, sample()[:4]...)
	var b bytes.Buffer
	g := gzip.NewWriter(&b)
	_, err := g.Write(plain)
	must(f, err, g.Close())
	f.Add(bytes.Clone(b.Bytes()))
	f.Add(append(bytes.Clone(b.Bytes()), b.Bytes()...))
	z, err := zstd.NewWriter(nil)
	must(f, err)
	f.Add(z.EncodeAll(plain, nil))
	y := newPen(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := archive.Unpack(context.Background(), y.l, bytes.NewReader(data), pack.BuildOptions{Name: "fuzz", MaxBytes: 1 << 20, MaxEntries: 100})
		y.check(t, rec, err)
	})
}
