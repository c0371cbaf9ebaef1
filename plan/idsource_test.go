package plan

import (
	"os"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// linkWare makes a ware of one symlink, which a tar id does not cover.
func linkWare(t *testing.T, pr *project, target string) warehouse.Record {
	t.Helper()
	dir := t.TempDir()
	if err := os.Symlink(target, dir+"/x"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	rec, err := pack.Ingest(t.Context(), pr.Warehouse, dir, pack.Options{Packtype: pack.Tar})
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// TestResolveTarID locks a tar id with its tree, and refuses another fileset with the
// same id until it is told to take it.
func TestResolveTarID(t *testing.T) {
	pr := newProject(t, map[string]formula.Source{})
	first := linkWare(t, pr, "/etc/passwd")
	pr.formula.Wares = append(pr.formula.Wares, &formula.Ware{Addr: "ware.x", Dir: pr.dir, Source: formula.Source{Kind: formula.SourceID, ID: first.ID.String()}})
	p, changes := pr.resolve()
	if p.Wares["ware.x"] != first.ID || len(changes) != 1 {
		t.Errorf("resolved to %s, %v", p.Wares["ware.x"], changes)
	}
	for _, want := range []string{`from = "` + first.ID.String(), `tree = "` + first.Tree.String()} {
		if !strings.Contains(pr.lockText(), want) {
			t.Errorf("no %s in the lock file:\n%s", want, pr.lockText())
		}
	}
	if _, changes := pr.resolve(); len(changes) != 0 {
		t.Errorf("resolved again: %v", changes)
	}
	if err := pr.Warehouse.Remove(first.ID); err != nil {
		t.Fatal(err)
	}
	second := linkWare(t, pr, "/etc/shadow")
	if second.ID != first.ID || second.Tree == first.Tree {
		t.Fatalf("%+v, %+v", first, second)
	}
	diags := pr.fail()
	if !strings.Contains(diags.Error(), "does not hash symlinks") || !strings.Contains(diags.Error(), second.Tree.String()) {
		t.Errorf("got %v", diags)
	}
	pr.options.UpdateAll = true
	if _, changes := pr.resolve(); len(changes) != 1 || !strings.Contains(pr.lockText(), second.Tree.String()) {
		t.Errorf("updated: %v\n%s", changes, pr.lockText())
	}
}

// TestResolveIDFilters gives one id under three filters three wares, each made once.
func TestResolveIDFilters(t *testing.T) {
	pr := newProject(t, map[string]formula.Source{})
	base := linkWare(t, pr, "target")
	add := func(addr, filters string) {
		pr.formula.Wares = append(pr.formula.Wares, &formula.Ware{Addr: addr, Dir: pr.dir, Source: formula.Source{Kind: formula.SourceID, ID: base.ID.String(), Filters: filters}})
	}
	add("ware.as-is", "")
	add("ware.mtime", "mtime=@5")
	add("ware.owner", "uid=1000")
	add("ware.same", "uid=0")
	add("ware.unpack", "uid=1000,gid=follow")
	p, _ := pr.resolve()
	if p.Wares["ware.as-is"] != base.ID || p.Wares["ware.same"] != base.Tree {
		t.Errorf("got %v", p.Wares)
	}
	if p.Wares["ware.mtime"] == base.Tree || p.Wares["ware.owner"] == base.Tree || p.Wares["ware.owner"] == p.Wares["ware.mtime"] || p.Wares["ware.owner"] != p.Wares["ware.unpack"] {
		t.Errorf("got %v", p.Wares)
	}
	rec, err := pr.Warehouse.Get(p.Wares["ware.mtime"])
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(pr.Warehouse.Fileset(rec) + "/x")
	if err != nil || info.ModTime().Unix() != 5 {
		t.Errorf("%v, %v", info, err)
	}
	// What is locked and made needs no base any more.
	if err := pr.Warehouse.Remove(base.ID); err != nil {
		t.Fatal(err)
	}
	pr.formula.Wares = pr.formula.Wares[1:]
	if again, changes := pr.resolve(); len(changes) != 0 || again.Wares["ware.mtime"] != rec.ID {
		t.Errorf("resolved again: %v, %v", again.Wares, changes)
	}
	if err := pr.Warehouse.Remove(rec.ID); err != nil {
		t.Fatal(err)
	}
	if diags := pr.fail(); !strings.Contains(diags.Error(), base.ID.String()) {
		t.Errorf("got %v", diags)
	}
}
