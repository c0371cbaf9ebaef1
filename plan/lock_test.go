package plan

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/warehouse"
	"golang.org/x/sys/unix"
)

func treeID(n int) warehouse.WareID {
	return warehouse.WareID{Packtype: "tree", Hash: fmt.Sprintf("%064x-%d", n, n)}
}

func updateOf(entries map[string]LockEntry) lockUpdate {
	u := lockUpdate{entries: entries, reasons: map[string]string{}, forced: map[string]bool{}}
	for addr := range entries {
		u.reasons[addr] = reasonNew
	}
	return u
}

const lockText = lockHeader + `version = 1

ware "module.m[\"k\"].ware.b" {
  builtin = "toolbox"
  id      = "tree:0000000000000000000000000000000000000000000000000000000000000002-2"
}

ware "ware.a" {
  url    = "https://example.com/$${a}-1.tar.gz"
  strip  = 1
  sha256 = "00ff000000000000000000000000000000000000000000000000000000000000"
  id     = "tree:0000000000000000000000000000000000000000000000000000000000000001-1"
}
`

var lockEntries = map[string]LockEntry{
	"ware.a":               {URL: "https://example.com/${a}-1.tar.gz", Strip: 1, SHA256: "00ff000000000000000000000000000000000000000000000000000000000000", ID: treeID(1)},
	`module.m["k"].ware.b`: {Builtin: "toolbox", ID: treeID(2)},
}

func TestLockRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), LockName)
	changes, diags := saveLock(path, updateOf(lockEntries), nil)
	if diags.HasErrors() || len(changes) != 2 {
		t.Fatalf("save: %v, %v", changes, diags)
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != lockText {
		t.Errorf("wrote %s, %v; want %s", got, err, lockText)
	}
	lock, _, diags := readLock(path)
	if diags.HasErrors() || !maps.Equal(lock.entries, lockEntries) {
		t.Errorf("read %v, %v; want %v", lock.entries, diags, lockEntries)
	}
}

// TestLockKeepsBytes: what a person did to a file that says the same is kept, and so
// are the entries of wares that this formula does not have, until lock or update.
func TestLockKeepsBytes(t *testing.T) {
	path := filepath.Join(t.TempDir(), LockName)
	mine := strings.Replace(lockText, "strip  = 1", "strip = 1 # upstream nests it", 1)
	if err := os.WriteFile(path, []byte(mine), 0o600); err != nil {
		t.Fatal(err)
	}
	only := map[string]LockEntry{"ware.a": lockEntries["ware.a"]}
	if changes, diags := saveLock(path, updateOf(only), nil); len(changes) != 0 || diags.HasErrors() {
		t.Errorf("saving what is there: %v, %v", changes, diags)
	}
	if got, _ := os.ReadFile(path); string(got) != mine {
		t.Errorf("file changed to %s", got)
	}
	changes, diags := saveLock(path, updateOf(only), func(addr string) bool { return addr == "ware.a" })
	if len(changes) != 1 || changes[0].Reason != "ware is gone" || diags.HasErrors() {
		t.Errorf("dropping: %v, %v", changes, diags)
	}
	if lock, _, _ := readLock(path); !maps.Equal(lock.entries, only) {
		t.Errorf("left %v", lock.entries)
	}
}

func TestLockBadFiles(t *testing.T) {
	for _, tt := range []struct {
		text, summary string
		line          int
	}{
		{"version = 1\nware \"a\" {\n", "Unclosed configuration block", 2},
		{"version = 1\n<<<<<<< HEAD\nware \"a\" {}\n=======\n", "Merge conflict in the lock file", 2},
		{"version = 2\nnewthing {}\n", "Unknown version of the lock file", 1},
		{"version = \"x\"\n", "Unsuitable value type", 1},
		{"", "Missing required argument", 1},
		{"version = 1\nware \"ware.a\" {\n  builtin = \"b\"\n  id = \"nonsense\"\n}\n", "Invalid entry in the lock file", 2},
		{"version = 1\nware \"ware.a\" {\n  url = \"file:///x\"\n  sha256 = \"abc\"\n  id = \"tree:aa-1\"\n}\n", "Invalid entry in the lock file", 2},
		{"version = 1\nware \"ware.a\" {\n  id = \"tree:aa-1\"\n}\n", "Invalid entry in the lock file", 2},
		{"version = 1\nware \"ware.a\" {\n  other = 1\n}\n", "Missing required argument", 2},
		{"\x00\xff\xfe", "Not a text file", 1},
		{"version = " + strings.Repeat("(", 1<<20), "too deep", 1},
		{strings.Repeat("#", maxLock+1), "Unreadable lock file", 1},
	} {
		path := filepath.Join(t.TempDir(), LockName)
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, file, diags := readLock(path)
		if !hasDiag(diags, tt.summary, tt.line) || file == nil && len(tt.text) <= maxLock {
			t.Errorf("%.99q: %v; want %q at line %d", tt.text, diags, tt.summary, tt.line)
		}
		if _, diags := saveLock(path, updateOf(lockEntries), nil); !diags.HasErrors() {
			t.Errorf("%.99q: overwritten", tt.text)
		}
	}
}

func TestLockNamedPipe(t *testing.T) {
	path := filepath.Join(t.TempDir(), LockName)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, diags := readLock(path); !hasDiag(diags, "Unreadable lock file", 1) {
		t.Errorf("got %v", diags)
	}
}

func hasDiag(diags hcl.Diagnostics, summary string, line int) bool {
	for _, d := range diags {
		if strings.Contains(d.Summary, summary) && d.Subject != nil && d.Subject.Start.Line == line {
			return true
		}
	}
	return false
}

// TestLockTogether: kilns that lock at once lose nothing of each other, and one that
// found another ware for the same source is told.
func TestLockTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), LockName)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			addr := fmt.Sprintf("ware.w%d", i)
			if _, diags := saveLock(path, updateOf(map[string]LockEntry{addr: {URL: "http://h/" + addr, ID: treeID(i)}}), nil); diags.HasErrors() {
				t.Error(diags)
			}
		})
	}
	wg.Wait()
	lock, _, diags := readLock(path)
	if len(lock.entries) != 16 || diags.HasErrors() {
		t.Errorf("%d entries of 16, %v", len(lock.entries), diags)
	}
	other := updateOf(map[string]LockEntry{"ware.w1": {URL: "http://h/ware.w1", ID: treeID(99)}})
	if _, diags := saveLock(path, other, nil); !hasDiag(diags, "Lock file changed meanwhile", 1) {
		t.Errorf("locking another ware: %v", diags)
	}
	other.forced["ware.w1"] = true
	if changes, diags := saveLock(path, other, nil); len(changes) != 1 || diags.HasErrors() {
		t.Errorf("updating: %v, %v", changes, diags)
	}
}

func TestLockReadOnlyDirectory(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write to a read-only directory")
	}
	dir := t.TempDir()
	path := filepath.Join(dir, LockName)
	if _, diags := saveLock(path, updateOf(lockEntries), nil); diags.HasErrors() {
		t.Fatal(diags)
	}
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(dir, 0o700)
	if _, diags := saveLock(path, updateOf(lockEntries), nil); diags.HasErrors() {
		t.Errorf("nothing to write: %v", diags)
	}
	more := updateOf(map[string]LockEntry{"ware.c": {Builtin: "toolbox", ID: treeID(3)}})
	if _, diags := saveLock(path, more, nil); !hasDiag(diags, "Cannot write the lock file", 1) {
		t.Errorf("something to write: %v", diags)
	}
	more.sure = true
	if _, diags := saveLock(path, more, nil); diags.HasErrors() || !hasDiag(diags, "Lock file not written", 1) {
		t.Errorf("something to write that is sure: %v", diags)
	}
	if _, diags := saveLock(path, more, func(string) bool { return true }); !diags.HasErrors() {
		t.Errorf("asked to write: %v", diags)
	}
}

// TestLockAfterKill: a kiln killed while writing leaves its file aside, which the
// next one writes over.
func TestLockAfterKill(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "."+LockName+".new"), make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, diags := saveLock(filepath.Join(dir, LockName), updateOf(lockEntries), nil); diags.HasErrors() {
		t.Fatal(diags)
	}
	files, _ := os.ReadDir(dir)
	got, _ := os.ReadFile(filepath.Join(dir, LockName))
	if len(files) != 1 || string(got) != lockText {
		t.Errorf("%d files, content %q", len(files), got)
	}
}

func TestLockEntryMatches(t *testing.T) {
	src := formula.Source{Kind: formula.SourceURL, URL: "https://u:secret@h/x.tgz", Strip: 1}
	e := LockEntry{URL: "https://u@h/x.tgz", Strip: 1, SHA256: "abcd"}
	if !e.matches(src) {
		t.Error("the same source does not match")
	}
	for name, change := range map[string]func(*formula.Source){
		"url":     func(s *formula.Source) { s.URL = "https://h/y.tgz" },
		"strip":   func(s *formula.Source) { s.Strip = 0 },
		"sha256":  func(s *formula.Source) { s.SHA256 = "ef01" },
		"filters": func(s *formula.Source) { s.Filters = "mtime=keep" },
		"kind":    func(s *formula.Source) { s.Kind = formula.SourceBuiltin },
	} {
		other := src
		change(&other)
		if e.matches(other) {
			t.Errorf("matches although %s changed", name)
		}
	}
}

func TestLockEntryMatchesGit(t *testing.T) {
	src := formula.Source{
		Kind: formula.SourceGit, Git: "https://u:secret@h/x", Ref: "v1", Subdir: "a", NoSubmodules: true,
		Include: []string{"a", "b"}, Exclude: []string{"c"}, Filters: "mtime=keep,uid=0",
	}
	e := gitEntry(src)
	e.Commit, e.ID, e.Filters = "abcd", treeID(1), "uid=0,mtime=keep"
	if !e.matches(src) || strings.Contains(e.Git, "secret") {
		t.Errorf("the same source does not match %+v", e)
	}
	for name, change := range map[string]func(*formula.Source){
		"git":        func(s *formula.Source) { s.Git = "https://h/y" },
		"ref":        func(s *formula.Source) { s.Ref = "" },
		"subdir":     func(s *formula.Source) { s.Subdir = "b" },
		"submodules": func(s *formula.Source) { s.NoSubmodules = false },
		"include":    func(s *formula.Source) { s.Include = []string{"ab"} },
		"exclude":    func(s *formula.Source) { s.Exclude = nil },
		"filters":    func(s *formula.Source) { s.Filters = "" },
		"kind":       func(s *formula.Source) { s.Kind, s.URL = formula.SourceURL, s.Git },
	} {
		other := src
		change(&other)
		if e.matches(other) {
			t.Errorf("matches although %s changed", name)
		}
	}
}

// FuzzLock: what can be read is written so that it reads the same, byte for byte
// from the second time on.
func FuzzLock(f *testing.F) {
	f.Add([]byte(lockText))
	f.Add([]byte("version = 1\nware \"a\" {\n  url = \"http://h/\\u0000\\n%%{x}$\"\n  strip = 3\n  id = \"tar:a\"\n}\n"))
	f.Add([]byte("version = 1\nware \"a\" {\n  git = \"../x\"\n  submodules = false\n  include = [\"a\", \"\"]\n  commit = \"0123456789012345678901234567890123456789\"\n  id = \"tree:a-1\"\n}\n"))
	f.Add([]byte("version = 1\nware \"\" {\n  builtin = \"\"\n  filters = \"uid=keep\"\n  id = \"tree:a-1\"\n}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		path := filepath.Join(t.TempDir(), LockName)
		read := func(text []byte) (lockFile, hcl.Diagnostics) {
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
			lock, _, diags := readLock(path)
			return lock, diags
		}
		lock, diags := read(text)
		if diags.HasErrors() {
			return
		}
		written := formatLock(lock.entries)
		again, diags := read(written)
		if diags.HasErrors() || !maps.Equal(again.entries, lock.entries) || string(formatLock(again.entries)) != string(written) {
			t.Errorf("%q was written as %q: %v", text, written, diags)
		}
	})
}

func BenchmarkLock1000(b *testing.B) {
	entries := map[string]LockEntry{}
	for i := range 1000 {
		entries[fmt.Sprintf("ware.w%d", i)] = LockEntry{URL: fmt.Sprintf("https://example.com/%d.tar.gz", i), Strip: 1, SHA256: hexSum("x"), ID: treeID(i)}
	}
	path := filepath.Join(b.TempDir(), LockName)
	text := formatLock(entries)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		b.Fatal(err)
	}
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			if _, _, diags := readLock(path); diags.HasErrors() {
				b.Fatal(diags)
			}
		}
	})
	b.Run("format", func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			formatLock(entries)
		}
	})
}
