package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

var keepAll = func() pack.Filters {
	f, err := pack.ParseFilters("uid=keep,gid=keep,mtime=keep,sticky=keep,setid=keep,dev=keep")
	if err != nil {
		panic(err)
	}
	return f
}()

// odd makes a ware of entries that archives find hard.
func odd(t testing.TB, l *warehouse.Local, more ...pack.Entry) warehouse.Record {
	t.Helper()
	deep := strings.TrimSuffix(strings.Repeat("d/", 300), "/")
	long := strings.Repeat("ü", 127) // 254 bytes
	return build(t, l, append([]pack.Entry{
		{Path: ".", Kind: pack.KindDir, Mode: 0o1751, UID: 7, GID: 8, Sec: 5, Nsec: 9},
		{Path: "plain", Kind: pack.KindFile, Mode: 0o644, Size: 3, Sec: 1 << 30},
		{Path: "new\nline", Kind: pack.KindFile, Mode: 0o600, UID: 1000, GID: 4294967294, Size: 1},
		{Path: "not-utf8-\xff\xfe", Kind: pack.KindDir, Mode: 0o700},
		{Path: "not-utf8-\xff\xfe/\xc3", Kind: pack.KindSymlink, Link: "to-\xff"},
		{Path: "link", Kind: pack.KindSymlink, Link: strings.Repeat("x/", 400), UID: 3, Sec: 12, Nsec: 5},
		{Path: "pipe", Kind: pack.KindFifo, Mode: 0o622, GID: 2097152},
		{Path: "set", Kind: pack.KindFile, Mode: 0o6755, Sec: 8589934592, Nsec: 999999999},
		{Path: long + "/" + long, Kind: pack.KindFile, Mode: 0o444, Size: 70000},
		{Path: deep + "/f", Kind: pack.KindFile, Mode: 0o444, Size: 10},
		{Path: "-rf", Kind: pack.KindFile, Mode: 0o444},
		{Path: "\x1b[31mred", Kind: pack.KindFile, Mode: 0o444},
		{Path: `back\slash "quote"`, Kind: pack.KindFile, Mode: 0o444},
		{Path: "a", Kind: pack.KindDir, Mode: 0o755},
		{Path: "a-b", Kind: pack.KindFile, Mode: 0o755},
		{Path: "a/b", Kind: pack.KindFile, Mode: 0o755},
	}, more...)...)
}

var old = pack.Entry{Path: "old", Kind: pack.KindFile, Mode: 0o644, Sec: -5, Nsec: 9}

func build(t testing.TB, l *warehouse.Local, entries ...pack.Entry) warehouse.Record {
	t.Helper()
	b, err := pack.NewBuilder(context.Background(), l, pack.BuildOptions{Options: pack.Options{Filters: keepAll}})
	must(t, err)
	defer b.Close()
	for _, e := range entries {
		must(t, b.Add(&e, bytes.NewReader(text(int(e.Size)))))
	}
	rec, err := b.Commit()
	must(t, err)
	return rec
}

// text is n bytes that compress, but not to nothing; always the same.
func text(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]byte, 0, n+8)
	for len(out) < n {
		out = fmt.Appendf(out, "%d ", r.Uint32N(5000))
	}
	return out[:n]
}

var formats = map[string]Format{
	"tar": {}, "tar.gz": {Compression: Gzip}, "tar.zst": {Compression: Zstd}, "zip": {Zip: true},
}

// writable makes odd, or of a format that cannot hold that, zippable.
func writable(t testing.TB, l *warehouse.Local, f Format, more ...pack.Entry) warehouse.Record {
	if f.Zip {
		return zippable(t, l, more...)
	}
	return odd(t, l, append(more, old)...)
}

func written(t testing.TB, l *warehouse.Local, id warehouse.WareID, f Format) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, Write(context.Background(), l, id, &b, f))
	return b.Bytes()
}

// TestWriteRoundTrip writes a ware, unpacks what was written, and expects the ware.
func TestWriteRoundTrip(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	var device []pack.Entry
	if os.Geteuid() == 0 {
		device = append(device, pack.Entry{Path: "null", Kind: pack.KindChar, Mode: 0o666, Major: 4095, Minor: 1048575})
	}
	for name, f := range formats {
		t.Run(name, func(t *testing.T) {
			rec := writable(t, l, f)
			if !f.Zip {
				rec = writable(t, l, f, device...)
			}
			data := written(t, l, rec.ID, f)
			other := openLocal(t)
			got, err := Unpack(ctx, other, bytes.NewReader(data), pack.BuildOptions{Options: pack.Options{Filters: keepAll}, Name: name})
			must(t, err)
			if got.ID != rec.ID {
				t.Errorf("wrote %s, unpacked %s", rec.ID, got.ID)
			}
			if again := written(t, other, got.ID, f); !bytes.Equal(again, data) {
				t.Error("written from another warehouse, it is not the same")
			}
		})
	}
}

// TestWriteVectors pins the bytes of archives: images have digests made of them. When
// a compressor's new version changes its bytes, raise layerVersion of package image with this.
func TestWriteVectors(t *testing.T) {
	l := openLocal(t)
	large := pack.Entry{Path: "large", Kind: pack.KindFile, Mode: 0o644, Size: 5 << 20}
	for name, want := range map[string]string{
		"tar":     "e2ce9661251920aa9ca40f8545978f9acd01115d28c7af6d01a982883f6a5cf2",
		"tar.gz":  "49014aa0ed96f5e8b0d1192c82763fc9a76ffce3461e053691a3bd45f2499bc5",
		"zip":     "c00756977cda86d248ed4cbbdc84d8b9d78062832e58be854b5716b753d6fff9",
		"tar.zst": "002e172564bf2118379ea980f742c8ea4da73e75d65640372022d7ad5eb7a16e",
	} {
		t.Run(name, func(t *testing.T) {
			rec := writable(t, l, formats[name], large)
			for _, cores := range []int{1, 2, 5} {
				before := runtime.GOMAXPROCS(cores)
				data := written(t, l, rec.ID, formats[name])
				runtime.GOMAXPROCS(before)
				sum := sha256.Sum256(data)
				if got := hex.EncodeToString(sum[:]); got != want {
					t.Errorf("on %d cores: %s", cores, got)
				}
			}
		})
	}
}

// TestWriteSecondOpinion has other programs unpack what was written.
func TestWriteSecondOpinion(t *testing.T) {
	t.Setenv("LC_ALL", "C.UTF-8") // else bsdtar cannot write the names
	ctx := context.Background()
	for _, tool := range []string{"tar", "bsdtar"} {
		for name, f := range formats {
			if f.Zip {
				continue
			}
			t.Run(tool+"/"+name, func(t *testing.T) {
				if _, err := osexec.LookPath(tool); err != nil {
					t.Skip(tool + " is not installed")
				}
				filters := keepAll
				l := openLocal(t)
				var more []pack.Entry
				if tool != "bsdtar" { // it adds a fraction of a second before 1970 the wrong way round
					more = append(more, old)
				}
				rec := odd(t, l, more...)
				if os.Geteuid() != 0 {
					// Owners, and the bits that go with them, are root's to give.
					var err error
					filters, err = pack.ParseFilters("mtime=keep,setid=ignore,sticky=ignore,dev=keep")
					must(t, err)
				}
				path := filepath.Join(t.TempDir(), "a."+name)
				must(t, os.WriteFile(path, written(t, l, rec.ID, f), 0o644))
				list, err := osexec.Command(tool, "-tf", path).Output()
				if err != nil || !strings.Contains(string(list), "a-b\n") {
					t.Errorf("list: %v:\n%s", err, list)
				}
				dst := filepath.Join(t.TempDir(), "x")
				must(t, os.Mkdir(dst, 0o755))
				t.Cleanup(func() { must(t, warehouse.RemoveTree(dst)) })
				cmd := osexec.Command(tool, "-xpf", path, "-C", dst, "--numeric-owner")
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %v: %s", cmd.Args, err, out)
				}
				if tool == "bsdtar" { // it gives the root no time
					must(t, os.Chtimes(dst, time.Time{}, time.Unix(5, 9)))
				}
				got, err := pack.Scan(ctx, dst, pack.Options{Filters: filters})
				must(t, err)
				want := rec.ID
				if os.Geteuid() != 0 {
					r, err := pack.Scan(ctx, l.Fileset(rec), pack.Options{Filters: filters})
					must(t, err)
					want = r.ID
				}
				if got.ID != want {
					out, _ := osexec.Command("find", dst, "-maxdepth", "1", "-printf", "%P %M %U:%G %T@\n").Output()
					t.Errorf("it unpacked %s, not %s:\n%s", got.ID, want, out)
				}
			})
		}
	}
}

// TestWriteCorrupt changes wares on disk.
func TestWriteCorrupt(t *testing.T) {
	for name, change := range map[string]func(file string) error{
		"content": func(f string) error { return os.WriteFile(f, bytes.Repeat([]byte("X"), 100), 0o644) },
		"shorter": func(f string) error { return os.Truncate(f, 50) },
		"longer":  func(f string) error { return os.Truncate(f, 150) },
		"gone":    os.Remove,
		"symlink": func(f string) error { return errors.Join(os.Remove(f), os.Symlink("/etc/passwd", f)) },
		"pipe":    func(f string) error { return errors.Join(os.Remove(f), unix.Mkfifo(f, 0o644)) },
		"parent": func(f string) error {
			d := filepath.Dir(f)
			return errors.Join(os.Rename(d, d+"2"), os.Symlink(filepath.Base(d)+"2", d))
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := openLocal(t)
			rec := build(t, l, pack.Entry{Path: "dir/file", Kind: pack.KindFile, Mode: 0o644, Size: 100},
				pack.Entry{Path: "z", Kind: pack.KindFile, Mode: 0o644, Size: 100})
			must(t, change(filepath.Join(l.Fileset(rec), "dir/file")))
			for name, f := range formats {
				err := Write(context.Background(), l, rec.ID, io.Discard, f)
				if !errors.Is(err, pack.ErrCorrupt) || !strings.Contains(err.Error(), `"dir/file"`) || !strings.Contains(err.Error(), rec.ID.String()) {
					t.Errorf("%s: got %v", name, err)
				}
			}
		})
	}
}

// TestWriteUnrecorded writes a ware whose entries are recorded no longer.
func TestWriteUnrecorded(t *testing.T) {
	l := openLocal(t)
	var entries []pack.Entry
	for i := range 100 {
		entries = append(entries, pack.Entry{Path: fmt.Sprintf("d%d/f", i), Kind: pack.KindFile, Mode: 0o644, Size: 9})
	}
	rec := build(t, l, entries...)
	want := written(t, l, rec.ID, Format{})
	must(t, os.Remove(filepath.Join(l.Dir(), "record", pack.Tree, rec.ID.Hash+".dirs")))
	if got := written(t, l, rec.ID, Format{}); !bytes.Equal(got, want) {
		t.Error("the archive differs")
	}
	must(t, os.WriteFile(filepath.Join(l.Fileset(rec), "d5/f"), []byte("123456789"), 0o644))
	if err := Write(context.Background(), l, rec.ID, io.Discard, Format{}); !errors.Is(err, pack.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

type brokenWriter struct{ left int }

var errBroken = errors.New("no more room")

func (b *brokenWriter) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

// TestWriteErrors ends writing early.
func TestWriteErrors(t *testing.T) {
	l := openLocal(t)
	rec := build(t, l, pack.Entry{Path: "large", Kind: pack.KindFile, Mode: 0o644, Size: 20 << 20})
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, f := range formats {
		for _, room := range []int{0, 100, 1 << 20} {
			if err := Write(context.Background(), l, rec.ID, &brokenWriter{room}, f); !errors.Is(err, errBroken) {
				t.Errorf("%s, room for %d: got %v", name, room, err)
			}
		}
		if err := Write(cancelled, l, rec.ID, io.Discard, f); !errors.Is(err, context.Canceled) {
			t.Errorf("%s, cancelled: got %v", name, err)
		}
	}
	if err := Write(context.Background(), l, warehouse.WareID{Packtype: "tree", Hash: "00-1"}, io.Discard, Format{}); !errors.Is(err, warehouse.ErrMissing) {
		t.Errorf("missing ware: got %v", err)
	}
	file := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(file, []byte("x"), 0o644))
	single, err := pack.Ingest(context.Background(), l, file, pack.Options{})
	must(t, err)
	if err := Write(context.Background(), l, single.ID, io.Discard, Format{}); !errors.Is(err, ErrFile) {
		t.Errorf("one file: got %v", err)
	}
}
