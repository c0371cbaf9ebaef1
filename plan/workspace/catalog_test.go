package workspace

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kilnbuild/kiln/formula/warpforge"
	"github.com/kilnbuild/kiln/warehouse"
)

const someHash = "4z9DCTxoKkStqXQRwtf9nimpfQQ36dbndDsAPCQgECfbXt3edanUrsVKCjE9TkX2v9"

func ware(packtype, hash string) warehouse.WareID {
	return warehouse.WareID{Packtype: packtype, Hash: hash}
}

func newCatalog(t *testing.T) Catalog {
	t.Helper()
	c, err := Init(t.TempDir(), "main")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (c Catalog) must(t *testing.T, change Change) *Module {
	t.Helper()
	if err := c.Write(change); err != nil {
		t.Fatal(err)
	}
	m, err := c.Module(change.Ref.Module)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestWrite(t *testing.T) {
	c := newCatalog(t)
	at := Ref{Module: "example.org/tool", Release: "v1"}
	id := ware("tar", someHash)
	m := c.must(t, Change{Ref: at, Items: []NamedWare{{"amd64", id}}, ByWare: map[warehouse.WareID][]string{id: {"https://example.org/tool.tgz"}}})
	if r := m.Release("v1"); r == nil || len(r.Items) != 1 || r.Items[0].ID != id {
		t.Fatalf("release: %+v", r)
	}
	if got := m.Addresses(id); !slices.Equal(got, []string{"https://example.org/tool.tgz"}) {
		t.Errorf("addresses: %v", got)
	}
	git := ware("git", strings.Repeat("a", 40))
	m = c.must(t, Change{Ref: at, Items: []NamedWare{{"src", git}}, ByType: map[string][]string{"git": {"https://example.org/tool.git"}}})
	if r := m.Release("v1"); len(r.Items) != 2 || len(m.Addresses(git)) != 1 || len(m.Addresses(id)) != 1 {
		t.Errorf("after adding: %+v", r)
	}
	err := c.Write(Change{Ref: at, Items: []NamedWare{{"src", ware("git", strings.Repeat("b", 40))}}})
	if !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "example.org/tool:v1:src") {
		t.Errorf("another ware under a name: %v", err)
	}
	item, err := Set{filepath.Dir(filepath.Dir(c.Dir))}.Lookup("example.org/tool:v1:src")
	if err != nil || item.ID != git {
		t.Errorf("looked up %+v, %v", item, err)
	}
	if names, err := c.Modules(); err != nil || !slices.Equal(names, []string{"example.org/tool"}) {
		t.Errorf("modules %v, %v", names, err)
	}
	if err := c.Write(Change{Ref: Ref{Module: "example.org/tool/sub", Release: "v1"}}); err == nil || !strings.Contains(err.Error(), "below another module") {
		t.Errorf("a module in a module: %v", err)
	}
}

// TestWriteKilled looks at what is there between any two of a writer's steps.
func TestWriteKilled(t *testing.T) {
	c := newCatalog(t)
	at := Ref{Module: "example.org/tool", Release: "v1"}
	old := c.must(t, Change{Ref: at, Items: []NamedWare{{"a", ware("tar", someHash)}}})
	before, err := os.ReadFile(old.releasePath("v1"))
	if err != nil {
		t.Fatal(err)
	}
	c.must(t, Change{Ref: at, Items: []NamedWare{{"b", ware("tar", someHash)}}})
	after, err := os.ReadFile(old.releasePath("v1"))
	if err != nil {
		t.Fatal(err)
	}
	// The module names the new release, which is not in its place yet.
	for path, text := range map[string][]byte{old.releasePath("v1"): before, old.nextPath("v1"): after} {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, err := c.Module(at.Module)
	if err != nil || len(m.Release("v1").Items) != 2 {
		t.Fatalf("between: %+v, %v", m, err)
	}
	// A release that was changed by somebody counts nowhere.
	if err := os.WriteFile(old.nextPath("v1"), before, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Module(at.Module); err == nil || !strings.Contains(err.Error(), "one of the two was changed") {
		t.Errorf("changed: %v", err)
	}
}

func TestWriteTogether(t *testing.T) {
	c := newCatalog(t)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			err := c.Write(Change{Ref: Ref{Module: "example.org/tool", Release: fmt.Sprint("v", i%4)}, Items: []NamedWare{{fmt.Sprint("item", i), ware("tar", someHash)}}})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	m, err := c.Module("example.org/tool")
	if err != nil || len(m.Releases) != 4 {
		t.Fatalf("%+v, %v", m, err)
	}
	for _, r := range m.Releases {
		if len(r.Items) != 4 {
			t.Errorf("release %s has %d items, want 4", r.Name, len(r.Items))
		}
	}
}

const plotText = `{"plot.v1": {"inputs": {}, "steps": {"one": {"protoformula": {"inputs": {}, "action": {"echo": {}}, "outputs": {}}}}, "outputs": {}}}`

func TestCopyReplay(t *testing.T) {
	from, to := newCatalog(t), newCatalog(t)
	d, diags := warpforge.Parse([]byte(plotText), "plot.wf")
	if diags.HasErrors() {
		t.Fatal(diags)
	}
	at := Ref{Module: "example.org/tool", Release: "v1"}
	m := from.must(t, Change{Ref: at, Items: []NamedWare{{"a", ware("tar", someHash)}}, Replay: d.Plot})
	if err := to.Copy(m, m.Release("v1")); err != nil {
		t.Fatal(err)
	}
	got, err := to.Module(at.Module)
	if err != nil || got.Release("v1").ID != m.Release("v1").ID {
		t.Fatalf("copied %+v, %v", got, err)
	}
	path, err := got.ReplayPath(got.Release("v1"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(plotText, "one", "two", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := got.ReplayPath(got.Release("v1")); err == nil || !strings.Contains(err.Error(), "it was changed") {
		t.Errorf("changed replay: %v", err)
	}
	// In a clone of somebody's repository a file may be a link to anywhere.
	if err := errors.Join(os.Remove(path), os.Symlink("/dev/zero", path)); err != nil {
		t.Fatal(err)
	}
	if _, err := got.ReplayPath(got.Release("v1")); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a replay without an end: %v", err)
	}
	other := from.must(t, Change{Ref: at, Items: []NamedWare{{"b", ware("tar", someHash)}}})
	if err := to.Copy(other, other.Release("v1")); !errors.Is(err, ErrExists) {
		t.Errorf("another release under a name: %v", err)
	}
}

func TestNames(t *testing.T) {
	for _, text := range []string{"", "Big.org/x", "a:b:c:d", "a::x", "a:../b", "a:b/c", "a:.b", "../x:v1:i", "a:v 1"} {
		if r, err := ParseRef(text); err == nil {
			t.Errorf("%q is %+v, want an error", text, r)
		}
	}
	for _, text := range []string{"example.org/tool", "example.org/tool:v1.2-rc1", "example.org/tool:v1:linux-amd64"} {
		if r, err := ParseRef(text); err != nil || r.String() != text {
			t.Errorf("%q is %q, %v", text, r, err)
		}
	}
	for _, name := range []string{"..", "a/b", "-x", strings.Repeat("a", 64)} {
		if _, err := Init(t.TempDir(), name); err == nil {
			t.Errorf("a catalog is called %q", name)
		}
	}
}
