package pack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/kilnbuild/kiln/warehouse"
)

func TestReadListing(t *testing.T) {
	l := openLocal(t)
	src := filepath.Join(t.TempDir(), "src")
	sample(t, src)
	keep, err := ParseFilters("uid=keep,mtime=keep")
	must(t, err)
	for _, from := range []string{src, src + "/run", t.TempDir()} {
		rec, err := Ingest(t.Context(), l, from, Options{Filters: keep})
		must(t, err)
		f, err := OpenFileset(t.Context(), l, rec)
		must(t, err)
		msgs := maps.Collect(f.Messages())
		again, err := ReadListing(rec.Tree, maps.Values(msgs))
		must(t, err)
		if want, got := listLines(t, f.Listing), listLines(t, again); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", from, got, want)
		}
		entries, bytes, err := again.Size()
		if err != nil || entries != rec.Entries && !rec.File || bytes != rec.Bytes {
			t.Errorf("%s: %d entries of %d bytes, %v; the record says %d of %d", from, entries, bytes, err, rec.Entries, rec.Bytes)
		}
		for d := range msgs {
			rest := maps.Clone(msgs)
			delete(rest, d)
			_, err := ReadListing(rec.Tree, maps.Values(rest))
			var missing *MissingDirError
			if !errors.As(err, &missing) || missing.Digest != d {
				t.Errorf("%s without %v: %v", from, d, err)
			}
		}
	}
}

// Messages that were not written by kiln, of which a ware with another id would be made.
func TestReadListingHostile(t *testing.T) {
	file := func(name string) node {
		return node{name: name, meta: meta{kind: KindFile, mode: 0o644, sec: defaultTime}, digest: emptyDigest}
	}
	self := &meta{kind: KindDir, mode: 0o755, sec: defaultTime}
	a, b := file("a"), file("b")
	sorted := directoryMessage(nil, self, []node{a, b})
	one, other := directoryMessage(nil, self, []node{a}), directoryMessage(nil, self, []node{b})
	props := appendProps(nil, dirProps, self)
	one, other = one[:len(one)-len(props)], other[:len(other)-len(props)]
	named := func(name string) []byte { n := file(name); return directoryMessage(nil, self, []node{n}) }
	for name, msg := range map[string][]byte{
		"unsorted":      slices.Concat(other, one, props),
		"twice":         slices.Concat(one, one, props),
		"no mode":       one,
		"unknown field": append(slices.Clone(sorted), 50<<3&0x7f|0x80, 3, 0),
		"excess":        append(slices.Clone(sorted), 0),
		"file root":     append(slices.Clone(sorted), fileRootMessage(nil, &a)...),
		"slash":         named("a/b"), "parent": named(".."), "self": named("."), "none": named(""), "NUL": named("a\x00b"),
		"garbage": []byte("<html>"), "zeros": make([]byte, 80),
	} {
		root := hashMessage(msg)
		if _, err := ReadListing(treeID(root), slices.Values([][]byte{msg})); !errors.Is(err, warehouse.ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
		below := directoryMessage(nil, self, []node{{name: "sub", meta: *self, digest: root}})
		if _, err := ReadListing(treeID(hashMessage(below)), slices.Values([][]byte{below, msg})); !errors.Is(err, warehouse.ErrMismatch) {
			t.Errorf("%s, in a directory: %v", name, err)
		}
	}
	if _, err := ReadListing(treeID(hashMessage(sorted)), slices.Values([][]byte{sorted})); err != nil {
		t.Error(err)
	}
}

// A few messages can be a fileset of more entries than there are atoms.
func TestListingSize(t *testing.T) {
	self := &meta{kind: KindDir, mode: 0o755, sec: defaultTime}
	chain := func(deep, wide int) (*Listing, error) {
		msgs := [][]byte{directoryMessage(nil, self, nil)}
		for range deep {
			var nodes []node
			for i := range wide {
				nodes = append(nodes, node{name: fmt.Sprint("d", i), meta: *self, digest: hashMessage(msgs[len(msgs)-1])})
			}
			msgs = append(msgs, directoryMessage(nil, self, nodes))
		}
		return ReadListing(treeID(hashMessage(msgs[deep])), slices.Values(msgs))
	}
	for _, tt := range []struct {
		deep, wide int
		entries    int64
	}{{0, 1, 1}, {3, 2, 15}, {100, 9, 1<<63 - 1}, {5000, 1, 5001}} {
		l, err := chain(tt.deep, tt.wide)
		must(t, err)
		if entries, _, err := l.Size(); err != nil || entries != tt.entries {
			t.Errorf("%d deep, %d wide: %d entries, %v", tt.deep, tt.wide, entries, err)
		}
	}
	l, err := chain(maxDepth+1, 1)
	must(t, err)
	if _, _, err := l.Size(); err == nil {
		t.Error("directories without end: no error")
	}
}

func TestIndex(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	x := NewIndex(l, 0)
	must(t, x.Refresh(ctx))
	dir := t.TempDir()
	put := func(name string, contents ...string) warehouse.Record {
		for _, c := range contents {
			must(t, os.MkdirAll(dir+"/"+name+"/sub", 0o755))
			must(t, os.WriteFile(dir+"/"+name+"/sub/"+c, []byte(c), 0o644))
		}
		rec, err := Ingest(ctx, l, dir+"/"+name, Options{})
		must(t, err)
		return rec
	}
	hash := func(content string) string {
		sum := sha256.Sum256([]byte(content))
		return hex.EncodeToString(sum[:])
	}
	has := func(content string) bool {
		_, err := x.Find(ctx, hash(content))
		if err != nil && !errors.Is(err, warehouse.ErrMissing) {
			t.Error(err)
		}
		return err == nil && x.Has(hash(content))
	}
	one := put("one", "a", "b")
	put("two", "b", "c")
	if has("a") {
		t.Error("it knows what came after it was refreshed")
	}
	must(t, x.Refresh(ctx))
	for _, c := range []string{"a", "b", "c"} {
		found, err := x.Find(ctx, hash(c))
		must(t, err)
		f, err := found.Fileset.Open(ctx, found.Entry)
		must(t, err)
		f.Close()
	}
	root, _ := RootDigest(one.Tree)
	if found, err := x.Find(ctx, root.SHA256); err != nil || hashMessage(found.Message) != mustDigest(t, one.Tree) {
		t.Errorf("the root: %v", err)
	}
	if has("d") || x.Has("") || x.Has(hash("a")[:63]) || x.Has("x"+hash("a")[1:]) {
		t.Error("it has what is not there")
	}
	must(t, l.Remove(one.ID))
	if has("a") {
		t.Error("it finds what was removed")
	}
	must(t, x.Refresh(ctx))
	if has("a") || !has("b") || !has("c") {
		t.Error("after a ware was removed, what another holds is lost, or it is not")
	}
	small := NewIndex(l, 2)
	must(t, small.Refresh(ctx))
	if n := len(small.where.refs); n != 2 {
		t.Errorf("%d entries, want 2", n)
	}
}

// TestIndexBeside: what stays is found all the time, while other wares come and go.
func TestIndexBeside(t *testing.T) {
	l := openLocal(t)
	put := func(content string) warehouse.Record {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "f"), []byte(content), 0o644))
		rec, err := Ingest(t.Context(), l, dir, Options{})
		must(t, err)
		return rec
	}
	for i := range 50 {
		put(fmt.Sprint("stays ", i))
	}
	x := NewIndex(l, 0)
	must(t, x.Refresh(t.Context()))
	over := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for i := 0; ; i = (i + 1) % 50 {
			select {
			case <-over:
				return
			default:
			}
			if sum := sha256.Sum256(fmt.Append(nil, "stays ", i)); !x.Has(hex.EncodeToString(sum[:])) {
				t.Errorf("ware %d is not found while another goes", i)
				return
			}
		}
	})
	for i := range 20 {
		rec := put(fmt.Sprint("goes ", i))
		must(t, x.Refresh(t.Context()))
		must(t, l.Remove(rec.ID))
		must(t, x.Refresh(t.Context()))
	}
	close(over)
	asking.Wait()
}

func mustDigest(t *testing.T, id warehouse.WareID) digest {
	t.Helper()
	root, err := RootDigest(id)
	must(t, err)
	var d digest
	_, err = hex.Decode(d.sum[:], []byte(root.SHA256))
	must(t, err)
	d.size = root.Size
	return d
}
