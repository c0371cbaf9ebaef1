package packtest

import (
	"archive/tar"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// Hostile tests a packed form, which has an Encode, with what was never packed by
// anybody honest. Whatever it is, nothing outside the fileset changes; what is
// refused leaves nothing, and the error names the entry and the archive.
func Hostile(t *testing.T, p Packtype) {
	if p.Encode == nil {
		t.Skip("this form is not one that entries can be written in")
	}
	for name, c := range refused(p.MaxDepth) {
		t.Run("refused "+name, func(t *testing.T) { p.refuses(t, c, p.Takes[name]) })
	}
	for name, entries := range accepted() {
		t.Run("accepted "+name, func(t *testing.T) { p.accepts(t, entries, p.ToolErs[name]) })
	}
	t.Run("limits", p.limits)
	t.Run("swapped", p.swapped)
	t.Run("truncated", p.truncated)
	t.Run("bit flips", p.flipped)
}

// outside stands for an absolute path to a directory outside the fileset, in which
// there is a file called canary.
const outside = "@outside@"

// A hostileCase is what must be refused. The error names an entry, or begins to.
type hostileCase struct {
	fileset []Entry
	entry   string
}

func special(typ byte, path string) Entry {
	return Entry{Header: tar.Header{Name: path, Typeflag: typ, Mode: 0o644, Devmajor: 1, Devminor: 3, ModTime: Then}}
}

// refused are filesets that nobody takes, if paths have at most maxDepth components.
func refused(maxDepth int) map[string]hostileCase {
	deep := strings.Repeat("d/", cmp.Or(maxDepth, 10_000)) + "f"
	bad := func(entry string, fileset ...Entry) hostileCase { return hostileCase{fileset, entry} }
	return map[string]hostileCase{
		"dotdot":                bad("../canary", File("../canary", "evil")),
		"dotdot inside":         bad("a/../../canary", Dir("a"), File("a/../../canary", "evil")),
		"dotdot up and down":    bad("a/../b", Dir("a"), File("a/../b", "evil")),
		"dotdot far":            bad("../../../../canary", File("../../../../canary", "evil")),
		"dotdot at the end":     bad("a/..", Dir("a"), Dir("a/..").mode(0o777)),
		"dotdot symlink":        bad("../evil", Symlink("../evil", "/etc/passwd")),
		"absolute file":         bad(outside+"/canary", File(outside+"/canary", "evil")),
		"absolute directory":    bad(outside+"/evil", Dir(outside+"/evil")),
		"two slashes":           bad("//evil", File("//evil", "evil")),
		"file through symlink":  bad("s/evil", Symlink("s", outside), File("s/evil", "evil")),
		"dir through symlink":   bad("s/evil", Symlink("s", outside), Dir("s/evil").mode(0o777)),
		"through two symlinks":  bad("s/t", Symlink("s", "."), Symlink("s/t", outside), File("s/t/evil", "evil")),
		"through its parent":    bad("s/canary", Dir("d"), Symlink("s", ".."), File("s/canary", "evil")),
		"over symlink":          bad("s", Symlink("s", outside+"/canary"), File("s", "evil")),
		"directory for symlink": bad("s", Symlink("s", outside), Dir("s").mode(0o777)),
		"symlink for directory": bad("s", Dir("s"), File("s/canary", "x"), Symlink("s", outside)),
		"through a loop":        bad("l/evil", Symlink("l", "l"), File("l/evil", "evil")),
		"hard link outside":     bad("h", Hardlink("h", outside+"/canary")),
		"hard link dotdot":      bad("h", Hardlink("h", "../canary")),
		"hard link to symlink":  bad("h", Symlink("s", outside+"/canary"), Hardlink("h", "s")),
		"hard link through one": bad("h", Symlink("s", outside), Hardlink("h", "s/canary")),
		"hard link ahead":       bad("h", Hardlink("h", "f"), File("f", "")),
		"hard link to itself":   bad("h", Hardlink("h", "h")),
		"hard link to dir":      bad("h", Dir("d"), Hardlink("h", "d")),
		"file twice":            bad("f", File("f", "one"), File("f", "two")),
		"directory twice":       bad("d", Dir("d"), Dir("d").mode(0o700)),
		"file for directory":    bad("d", Dir("d"), File("d", "x")),
		"directory for file":    bad("f", File("f", "x"), Dir("f")),
		"below a file":          bad("f/g", File("f", "x"), File("f/g", "y")),
		"root is a file":        bad(".", File(".", "x")),
		"root is a symlink":     bad(".", Symlink(".", outside)),
		"character device":      bad("n", special(tar.TypeChar, "n")),
		"block device":          bad("n", special(tar.TypeBlock, "n")),
		"setuid":                bad("s", File("s", "x").mode(0o4755)),
		"setgid":                bad("s", File("s", "x").mode(0o2755)),
		"setgid directory":      bad("s", Dir("s").mode(0o2755)),
		"long name":             bad(strings.Repeat("n", 256), File(strings.Repeat("n", 256), "x")),
		"long target":           bad("l", Symlink("l", strings.Repeat("t/", 4096))),
		"far too deep":          bad(strings.Repeat("d/", 20), File(deep, "x")),
		"terminal escape":       bad("\x1b[2J\u202e\n/../x", File("\x1b[2J\u202e\n/../x", "evil")),
	}
}

// accepted are filesets that only look evil: names and symlinks lead nowhere by
// themselves. Each is expected to come out as it went in, its twins apart.
func accepted() map[string][]Entry {
	return map[string][]Entry{
		"nothing at all":    nil,
		"case twins":        {File("a/File", "1"), File("A/file", "2"), File("a/file", "3")},
		"unicode twins":     {File("caf\u00e9", "1"), File("cafe\u0301", "2"), Dir("\u212b"), Dir("\u00c5"), Dir("A\u030a")},
		"symlinks out":      {Symlink("a", "/etc/passwd"), Symlink("b", "../../../../x"), Symlink("c", outside)},
		"symlink loops":     {Symlink("a", "b"), Symlink("b", "a"), Symlink("self", "self"), Symlink("d/up", "..")},
		"dots":              {File("...", ""), File("..a", ""), File("a..", ""), Dir(". .")},
		"terminal escapes":  {File("\x1b]0;title\x07\x1b[2J", ""), Symlink("\x9b31m", "\x1b[1m")},
		"commands":          {File("$(reboot)", ""), File("-rf", ""), File("; rm -rf ~", ""), File("%n%n", "")},
		"no directories":    {File("a/b/c/d", "deep"), File("a/e", "")},
		"children first":    {File("a/b/c", "1"), Dir("a/b").mode(0o700), Dir("a").mode(0o711)},
		"twice and alike":   {Dir("a"), File("a/b", ""), Dir("a")},
		"kernel's own name": {File("proc/self/mem", ""), Symlink("dev/stdin", "/proc/self/fd/0")},
	}
}

// place puts an absolute path in the stead of outside.
func place(entries []Entry, at string) []Entry {
	entries = slices.Clone(entries)
	for i := range entries {
		e := &entries[i]
		e.Name, e.Linkname = strings.ReplaceAll(e.Name, outside, at), strings.ReplaceAll(e.Linkname, outside, at)
	}
	return entries
}

// A yard is a directory with a warehouse in it, and around that a canary.
type yard struct {
	dir    string
	l      *warehouse.Local
	before pack.Result
}

func newYard(t testing.TB) *yard {
	t.Helper()
	y := &yard{dir: tempDir(t)}
	must(t, os.Mkdir(y.dir+"/d", 0o755), os.WriteFile(y.dir+"/canary", []byte("alive"), 0o644))
	y.l = Local(t, y.dir)
	y.before = y.scan(t)
	return y
}

// scan is what is in the yard beside the warehouse: content, modes, owners, times.
func (y *yard) scan(t testing.TB) pack.Result {
	t.Helper()
	f, err := pack.ParseFilters(keepAll)
	must(t, err)
	r, err := pack.Scan(context.Background(), y.dir, pack.Options{Filters: f, Exclude: []string{"warehouse"}})
	must(t, err)
	return r
}

// alive checks that nothing outside the warehouse has changed.
func (y *yard) alive(t testing.TB) {
	t.Helper()
	if after := y.scan(t); after != y.before {
		names, _ := filepath.Glob(y.dir + "/*")
		t.Errorf("something outside has changed: %+v, was %+v; there are %q", after, y.before, names)
	}
}

// refuses unpacks c and expects an error, or if harmless that it does no harm.
func (p Packtype) refuses(t *testing.T, c hostileCase, harmless bool) {
	y := newYard(t)
	src := tempDir(t) + "/packed"
	p.Encode(t, src, place(c.fileset, y.dir)...)
	rec, err := p.Unpack(context.Background(), y.l, src, pack.BuildOptions{Name: "evil.archive"})
	y.alive(t)
	if harmless {
		must(t, err, pack.Check(context.Background(), y.l, rec.ID))
		return
	}
	if err == nil {
		t.Fatal("unpacked")
	}
	if !p.names(err, strings.ReplaceAll(c.entry, outside, y.dir)) || !strings.Contains(err.Error(), "evil.archive") {
		t.Errorf("the error does not name entry and archive: %v", err)
	}
	printable(t, err)
	NothingLeft(t, y.l)
}

// names reports whether an error names an entry, or the beginning of a long one.
func (p Packtype) names(err error, entry string) bool {
	if strings.Contains(err.Error(), strings.Trim(fmt.Sprintf("%q", entry), `"`)) {
		return true
	}
	parts := strings.Split(entry, "/")
	for i, c := range parts {
		above := fmt.Sprintf("%q", strings.Join(parts[:i+1], "/"))
		if p.ByComponent && (strings.Contains(err.Error(), fmt.Sprintf("%q", c)) || strings.Contains(err.Error(), above)) {
			return true
		}
	}
	return false
}

// printable checks that an error does nothing to a terminal.
func printable(t *testing.T, err error) {
	t.Helper()
	if i := strings.IndexFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) && r != '\n' }); i >= 0 {
		t.Errorf("the error is not printable at %d: %q", i, err.Error()[i:min(len(err.Error()), i+20)])
	}
}

func (p Packtype) accepts(t *testing.T, entries []Entry, toolErs bool) {
	y := newYard(t)
	entries = place(entries, y.dir)
	src := tempDir(t) + "/packed"
	p.Encode(t, src, entries...)
	rec := p.unpack(t, y.l, src, p.options(t, ""))
	p.Loses = p.EncodeLoses
	want, err := pack.Scan(context.Background(), p.write(t, tempDir(t)+"/src", entries...), p.options(t, ""))
	must(t, err)
	p.same(t, y.l, rec, want)
	y.alive(t)
	if p.Tool == nil || toolErs {
		return
	}
	out := tempDir(t) + "/out"
	if err := p.Tool(src, out); err != nil {
		t.Logf("no second opinion: %v", err)
		return
	}
	other, err := pack.Scan(context.Background(), out, p.options(t, ""))
	if must(t, err); other.Tree != want.Tree {
		t.Errorf("another tool unpacks %s, not %s", other.Tree, want.Tree)
	}
}

// limits: entries, bytes, each by one too many.
func (p Packtype) limits(t *testing.T) {
	for name, c := range map[string]struct {
		o       pack.BuildOptions
		entries []Entry
		entry   string // the one too many; "" if there is none
	}{
		"bytes":          {pack.BuildOptions{MaxBytes: 10}, []Entry{File("a", "12345"), File("b", "12345")}, ""},
		"too many bytes": {pack.BuildOptions{MaxBytes: 10}, []Entry{File("a", "12345"), File("b", "123456")}, "b"},
		"one large file": {pack.BuildOptions{MaxBytes: 10}, []Entry{File("big", strings.Repeat("x", 1<<20))}, "big"},
		"entries":        {pack.BuildOptions{MaxEntries: 4}, []Entry{File("a", "1"), File("b", "2"), File("c", "3")}, ""},
		"too many":       {pack.BuildOptions{MaxEntries: 4}, []Entry{File("a", "1"), File("b", "2"), File("c", "3"), File("d", "4"), File("e", "5")}, "e"},
		"too many deep":  {pack.BuildOptions{MaxEntries: 4}, []Entry{File("1/2/3/4/5/6", "x")}, "1/2/3/4/5/6"},
	} {
		t.Run(name, func(t *testing.T) {
			l := Local(t, "")
			src := tempDir(t) + "/packed"
			p.Encode(t, src, c.entries...)
			c.o.Name = "bomb"
			rec, err := p.Unpack(context.Background(), l, src, c.o)
			if c.entry == "" {
				must(t, err, pack.Check(context.Background(), l, rec.ID))
				return
			}
			if err == nil || !p.names(err, c.entry) || !strings.Contains(err.Error(), "allowed") || !strings.Contains(err.Error(), "bomb") {
				t.Errorf("got %v", err)
			}
			NothingLeft(t, l)
		})
	}
}
