package pack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/warehouse"
)

// later returns c as it will be in an hour: it trusts files changed just now.
func later(c *StatCache) *StatCache {
	return &StatCache{file: c.file, now: func() time.Time { return time.Now().Add(time.Hour) }}
}

// knownFiles is how many files c knows the digest of.
func knownFiles(c *StatCache) int64 { return c.begin(&Options{}).files }

// poisoned returns a cache that is whole, but tells a wrong digest of the one file at
// the root whose entry begins so.
func poisoned(t *testing.T, cache, entry []byte) []byte {
	t.Helper()
	data := bytes.Clone(cache)
	at := bytes.Index(data, entry)
	if at < 0 {
		t.Fatalf("no entry %q", entry)
	}
	data[at+len(entry)+factBytes] ^= 1
	root := data[len(cacheMagic)+sha256.Size+8:]
	own := root[blockHead : blockHead+binary.LittleEndian.Uint32(root[8:])]
	own[seenBytes] ^= 1 // so that what is in the root is looked at
	binary.LittleEndian.PutUint64(root[blockHead+len(own):], checksum(own))
	return data
}

func TestStatCache(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	src := filepath.Join(dir, "src")
	sample(t, src)
	file := filepath.Join(dir, "cache", "c")
	c, err := OpenStatCache(file)
	must(t, err)
	for _, packtype := range []string{Tree, Tar, Tree} {
		want, err := Scan(ctx, src, Options{Packtype: packtype})
		must(t, err)
		for range 2 {
			got, err := Scan(ctx, src, Options{Packtype: packtype, Cache: later(c)})
			must(t, err)
			if got != want {
				t.Errorf("%s: got %v, want %v", packtype, got, want)
			}
		}
	}
	if n := knownFiles(c); n != 4 {
		t.Errorf("%d files in the cache, want 4", n)
	}
	before, err := os.ReadFile(file)
	must(t, err)
	info, err := os.Stat(file)
	must(t, err)
	_, err = Scan(ctx, src, Options{Cache: c})
	must(t, err)
	if after, err := os.Stat(file); err != nil || !os.SameFile(info, after) {
		t.Error("a scan that learned nothing wrote the cache")
	}

	// It is really used: with a digest changed in it, the id changes.
	must(t, os.WriteFile(file, poisoned(t, before, []byte("a-b\x00f")), 0o600))
	want, err := Scan(ctx, src, Options{})
	must(t, err)
	got, err := Scan(ctx, src, Options{Cache: c})
	must(t, err)
	if got.ID == want.ID {
		t.Error("the cache was not used")
	}

	// A changed file is read again, of the same size and mtime too.
	old, err := os.Stat(filepath.Join(src, "a-b"))
	must(t, err)
	tick(t)
	must(t, os.WriteFile(filepath.Join(src, "a-b"), []byte("dish"), 0o644))
	must(t, os.Chtimes(filepath.Join(src, "a-b"), old.ModTime(), old.ModTime()))
	want, err = Scan(ctx, src, Options{})
	must(t, err)
	got, err = Scan(ctx, src, Options{Cache: c})
	must(t, err)
	if got != want {
		t.Error("a change was missed")
	}

	for name, data := range map[string][]byte{
		"empty": {}, "cut": before[:len(before)-1], "other": []byte("x"),
		"flipped": append(bytes.Clone(before[:50]), append([]byte{before[50] ^ 1}, before[51:]...)...),
	} {
		must(t, os.WriteFile(file, data, 0o600))
		got, err := Scan(ctx, src, Options{Cache: c})
		must(t, err)
		if got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
}

// TestIngestUnchanged: what is in the warehouse is not copied again, if it is just that
// and whole.
func TestIngestUnchanged(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	src := filepath.Join(t.TempDir(), "src")
	sample(t, src)
	c := openCache(t)
	first, err := Ingest(ctx, l, src, Options{Cache: c})
	must(t, err)
	// Were it copied again, it would be counted among what was staged.
	staged := func() int {
		dir, err := l.Stage("x")
		must(t, err)
		must(t, os.Remove(dir))
		n, err := strconv.Atoi(dir[strings.LastIndexByte(dir, '-')+1:])
		must(t, err)
		return n
	}
	ingest := func(what string, copied bool) {
		t.Helper()
		before := staged()
		again, err := Ingest(ctx, l, src, Options{Cache: c})
		must(t, err)
		if again.ID != first.ID || Check(ctx, l, first.ID) != nil {
			t.Errorf("%s: got %v, then %v", what, first, again)
		}
		if got := staged() > before+1; got != copied {
			t.Errorf("%s: it was copied: %t", what, got)
		}
	}
	ingest("unchanged", false)
	must(t, l.Remove(first.ID))
	ingest("removed", true)
	must(t, os.WriteFile(filepath.Join(l.Fileset(first), "a-b"), []byte("other"), 0o644))
	if err := Check(ctx, l, first.ID); !errors.Is(err, ErrCorrupt) {
		t.Fatalf("got %v", err)
	}
	ingest("damaged", true)
}

// TestIngestOtherTree: an id that leaves symlinks out does not make a fileset another's.
func TestIngestOtherTree(t *testing.T) {
	ctx := context.Background()
	src, l, c := filepath.Join(t.TempDir(), "src"), openLocal(t), openCache(t)
	fillTree(t, src, map[string]string{"a": "a"})
	must(t, os.Symlink("a", src+"/l"))
	o := Options{Packtype: Tar, Cache: c}
	for range 2 {
		_, err := Ingest(ctx, l, src, o)
		must(t, err)
	}
	tick(t)
	must(t, os.Remove(src+"/l"))
	must(t, os.Symlink("b", src+"/l"))
	if rec, err := Ingest(ctx, l, src, o); !errors.Is(err, warehouse.ErrOtherTree) {
		t.Errorf("got %v, %v", rec, err)
	}
}
