package warehouse

import (
	"context"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestAlias(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	tree := Record{ID: id("abcd"), Tree: id("abcd"), Entries: 3, Bytes: 7, Stamp: "s", Dirs: []byte(strings.Repeat("d", 10_000))}
	image := Record{ID: WareID{"oci", "sha256-12ab"}, Tree: tree.ID, Image: &Image{Env: []string{"A=b"}, Labels: map[string]string{"x": "y"}}}
	if err := l.Alias(image); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "tree:abcd") {
		t.Errorf("alias of nothing: %v", err)
	}
	must(t, l.Commit(stage(t, l), tree))
	must(t, l.Alias(image))
	must(t, l.Alias(image))

	got, err := l.Get(image.ID)
	must(t, err)
	if got.ID != image.ID || got.Tree != tree.ID || got.Entries != 3 || got.Bytes != 7 || got.Stamp != "s" ||
		!reflect.DeepEqual(got.Image, image.Image) || got.Created.IsZero() {
		t.Errorf("got %+v", got)
	}
	data, err := os.ReadFile(l.Fileset(got) + "/sub/f")
	if string(data) != "content" || err != nil {
		t.Errorf("content %q, %v", data, err)
	}
	if dirs, err := l.Dirs(got); len(dirs) != 10_000 || err != nil {
		t.Errorf("%d bytes of messages, %v", len(dirs), err)
	}
	must(t, l.Restamp(image.ID, "t"))
	if rec, err := l.Get(tree.ID); err != nil || rec.Stamp != "t" || rec.Alias || rec.Image != nil {
		t.Errorf("restamped through an alias: %+v, %v", rec, err)
	}
	if recs, err := l.List(ctx); len(recs) != 2 || err != nil {
		t.Errorf("listed %v, %v", recs, err)
	}
	if rec, err := l.Find(ctx, "sha256-12"); rec.ID != image.ID || err != nil {
		t.Errorf("found %v, %v", rec.ID, err)
	}

	// The fileset goes, and comes back.
	must(t, l.Remove(tree.ID))
	if _, err := l.Get(image.ID); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "tree:abcd") || l.Exists(image.ID) {
		t.Errorf("without its fileset: %v", err)
	}
	if recs, err := l.List(ctx); len(recs) != 0 || err != nil {
		t.Errorf("listed %v, %v", recs, err)
	}
	must(t, l.Commit(stage(t, l), tree))
	if !l.Has(image.ID) || !l.Exists(image.ID) {
		t.Error("its fileset is back, it is not")
	}

	// Only the name goes.
	must(t, l.Remove(image.ID))
	must(t, l.Remove(image.ID))
	if l.Has(image.ID) || !l.Has(tree.ID) {
		t.Error("removing an alias removes the alias and nothing else")
	}
	must(t, l.Remove(tree.ID))
	empty(t, l)
}

func TestBadAliases(t *testing.T) {
	l := openLocal(t)
	tree, own := id("abcd"), WareID{"tar", "efgh"}
	must(t, l.Commit(stage(t, l), Record{ID: tree, Tree: tree}))
	must(t, l.Commit(stage(t, l), Record{ID: own, Tree: tree, Stamp: "own"}))
	must(t, l.Alias(Record{ID: own, Tree: tree}))
	if rec, err := l.Get(own); err != nil || rec.Alias || rec.Stamp != "own" {
		t.Errorf("an alias took the place of a fileset: %+v, %v", rec, err)
	}
	if err := l.Alias(Record{ID: id("efgh"), Tree: tree}); err == nil {
		t.Error("a tree is an alias")
	}
	commit := WareID{"git", "0123"}
	must(t, l.Alias(Record{ID: commit, Tree: tree}))
	p, err := l.place(commit)
	must(t, err)
	for _, bad := range []string{`{"id":"git:0123","alias":true}`, `{"id":"git:0123","alias":true,"tree":"git:0123"}`, `{"id":"git:0123","alias":true,"tree":"tree:.."}`} {
		must(t, os.WriteFile(p.record, []byte(bad), 0o644))
		if _, err := l.Get(commit); !errors.Is(err, ErrMissing) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	// A fileset of its own takes the place of an alias that leads nowhere.
	must(t, l.Commit(stage(t, l), Record{ID: commit, Tree: tree, Stamp: "own"}))
	if rec, err := l.Get(commit); err != nil || rec.Alias || rec.Stamp != "own" {
		t.Errorf("committed: %+v, %v", rec, err)
	}
}
