package packtest

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// oddNames are names that something between a disk and a ware might stumble over.
// Case and Unicode twins are different names on Linux, and stay apart.
var oddNames = []string{
	"new\nline", "tab\there", strings.Repeat("n", 255), strings.Repeat("é", 127), " ", " leading", "trailing ", "*", `back\slash`,
	"caf\xe9", "\xff\xfe", "\xed\xa0\x80", "Readme", "README", "caf\u00e9", "cafe\u0301", "-rf", "...", "..a", "a..", "file", "CON",
	"\x1b[2J\x1b[31mred\x07", "\u202egnp.exe", "\x01", "\x7f", "'\"`$(touch x)", "@", "=", "#", "%s%n", ".hidden", "a:b",
}

func names(t *testing.T, p Packtype) {
	var entries []Entry
	for _, name := range oddNames {
		short := name[:min(len(name), 254)]
		entries = append(entries, File("f/"+name, name), Dir("d/"+name), File("d/"+name+"/"+name, ""), Symlink("l/"+name, short))
	}
	allWays(t, p, "", entries...)
}

// allWays makes a ware of a fileset in every way there is, and expects what a scan says.
func allWays(t *testing.T, p Packtype, filters string, entries ...Entry) {
	t.Helper()
	ctx := context.Background()
	o := p.options(t, filters)
	want, err := pack.Scan(ctx, p.write(t, tempDir(t)+"/src", entries...), o)
	must(t, err)
	for name, way := range p.ways() {
		t.Run(name, func(t *testing.T) {
			l := Local(t, "")
			rec, err := way(t, ctx, l, o, entries...)
			must(t, err)
			p.same(t, l, rec, want)
		})
	}
}

// levels is how deep a tree can be that everything must take: its paths are longer
// than any system call takes.
const levels = 4000

// deep does all there is to do with a deep tree, in a process that can open few files.
func deep(t *testing.T, p Packtype) {
	if !inChild(t, "deep", nil) {
		return
	}
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1024, Max: 1024}))
	ctx := context.Background()
	l := Local(t, "")
	o := p.options(t, "")
	staged, err := l.Stage("test")
	must(t, err)
	src := staged + "/out"
	makeDeep(t, src, levels)
	want, err := pack.Scan(ctx, src, o)
	must(t, err)
	if want.Entries != levels+2 {
		t.Errorf("%d entries, want %d", want.Entries, levels+2)
	}
	check := func(rec warehouse.Record, err error) {
		t.Helper()
		must(t, err)
		p.same(t, l, rec, want)
		must(t, l.Remove(rec.ID))
	}
	if p.Loses&LosesLongPaths != 0 {
		packed := tempDir(t) + "/packed"
		p.Encode(t, packed, File(strings.Repeat("d/", levels)+"leaf", ""))
		check(p.Unpack(ctx, l, packed, pack.BuildOptions{Options: o, Name: "packed"}))
	} else if p.Pack != nil {
		check(p.Unpack(ctx, l, p.pack(t, src), pack.BuildOptions{Options: o, Name: "packed"}))
	}
	if p.Packtype != pack.Tree { // the rest is no other for it
		return
	}
	rec, err := pack.Ingest(ctx, l, src, o)
	must(t, err)
	out := tempDir(t) + "/out"
	must(t, pack.Export(ctx, l, rec.ID, out, pack.ExportOptions{}))
	exported, err := pack.Scan(ctx, out, o)
	must(t, err)
	if exported.ID != want.ID {
		t.Errorf("exported it is %s, want %s", exported.ID, want.ID)
	}
	check(rec, nil)
	check(pack.Adopt(ctx, l, src, o))
	must(t, os.Remove(staged))
}

// makeDeep makes a directory with so many directories, each in the one before, and a
// file in the last one.
func makeDeep(t testing.TB, root string, levels int) {
	t.Helper()
	must(t, os.Mkdir(root, 0o755))
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	must(t, err)
	for range levels {
		must(t, unix.Mkdirat(fd, "d", 0o755), unix.Fchmodat(fd, "d", 0o755, 0))
		next, err := unix.Openat(fd, "d", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		must(t, err, unix.Close(fd))
		fd = next
	}
	leaf, err := unix.Openat(fd, "leaf", unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC, 0o644)
	must(t, err, unix.Close(leaf), unix.Close(fd))
}

// hardlinks: in a ware no two names share a file, and a file with two names is two.
func hardlinks(t *testing.T, p Packtype) {
	ctx := context.Background()
	linked := []Entry{File("a", "shared"), Hardlink("d/b", "a"), Hardlink("c", "a")}
	copied := []Entry{File("a", "shared"), File("d/b", "shared"), File("c", "shared")}
	o := p.options(t, "")
	want, err := pack.Scan(ctx, p.write(t, tempDir(t)+"/src", copied...), o)
	must(t, err)
	for name, way := range p.ways() {
		t.Run(name, func(t *testing.T) {
			l := Local(t, "")
			rec, err := way(t, ctx, l, o, linked...)
			must(t, err)
			if rec.Tree != want.Tree || rec.Entries != want.Entries || rec.Bytes != want.Bytes {
				t.Errorf("got %+v, want %+v", rec, want)
			}
			must(t, pack.Check(ctx, l, rec.ID))
			for _, name := range []string{"a", "d/b", "c"} {
				var st unix.Stat_t
				must(t, unix.Stat(l.Fileset(rec)+"/"+name, &st))
				if st.Nlink != 1 {
					t.Errorf("%s has %d names", name, st.Nlink)
				}
			}
		})
	}
}

// empty packs what has nothing in it.
func empty(t *testing.T, p Packtype) {
	for name, entries := range map[string][]Entry{
		"no entries": nil,
		"directory":  {Dir("d")},
		"file":       {File("f", "")},
		"both":       {Dir("d"), File("f", "")},
	} {
		t.Run(name, func(t *testing.T) { allWays(t, p, "", entries...) })
	}
	t.Run("no directory", func(t *testing.T) {
		file := fmt.Sprintf("%s/f", tempDir(t))
		must(t, os.WriteFile(file, nil, 0o644))
		r, err := pack.Scan(context.Background(), file, p.options(t, ""))
		if err != nil || !r.File || r.Entries != 1 || r.Bytes != 0 {
			t.Errorf("got %+v, %v", r, err)
		}
	})
}

// xattrs are no part of a fileset; what they would be part of is refused.
func xattrs(t *testing.T, p Packtype) {
	ctx := context.Background()
	o := p.options(t, "")
	want, err := pack.Scan(ctx, p.write(t, tempDir(t)+"/src", sample()...), o)
	must(t, err)
	src := p.write(t, tempDir(t)+"/src", sample()...)
	for _, path := range []string{"", "/run", "/a"} {
		if err := unix.Setxattr(src+path, "user.kiln", []byte("x"), 0); err == unix.ENOTSUP {
			t.Skip("this file system has no user extended attributes")
		} else {
			must(t, err)
		}
	}
	l := Local(t, "")
	rec, err := pack.Ingest(ctx, l, src, o)
	must(t, err)
	p.same(t, l, rec, want)
	if n, err := unix.Listxattr(l.Fileset(rec)+"/run", make([]byte, 100)); n > 0 || err != nil {
		t.Errorf("the ware has extended attributes: %d bytes, %v", n, err)
	}
	if p.Pack == nil {
		return
	}
	l = Local(t, "")
	rec, err = p.Unpack(ctx, l, p.pack(t, src), pack.BuildOptions{Options: o, Name: "packed"})
	if err == nil {
		p.same(t, l, rec, want)
	} else if p.isTree() || !strings.Contains(err.Error(), "extended attributes") {
		t.Error(err)
	}
}

// holes are no part of a fileset either.
func holes(t *testing.T, p Packtype) {
	ctx := context.Background()
	const size = 8 << 20
	sparse := File("f", "")
	sparse.Size = size
	o := p.options(t, "")
	want, err := pack.Scan(ctx, p.write(t, tempDir(t)+"/src", File("f", strings.Repeat("\x00", size))), o)
	must(t, err)
	for name, way := range p.ways() {
		t.Run(name, func(t *testing.T) {
			l := Local(t, "")
			rec, err := way(t, ctx, l, o, sparse)
			must(t, err)
			p.same(t, l, rec, want)
		})
	}
}
