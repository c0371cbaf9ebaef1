package plan

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/formula"
)

// TestVerifyLockGit: an id of another ware that is here, beside a commit that stayed. It is
// found out by what the commit gave, or where that is not known from the repository.
func TestVerifyLockGit(t *testing.T) {
	pr := newProject(t, map[string]formula.Source{
		"ware.a": {Kind: formula.SourceGit, Git: "../up"},
		"ware.b": {Kind: formula.SourceGit, Git: "../up", Include: []string{"one"}},
	})
	gitRepo(t, filepath.Join(pr.world.dir, "up"), map[string]string{"one": "1", "two": "2"})
	p, _ := pr.resolve()
	if diags := p.VerifyLock(t.Context()); diags.HasErrors() {
		t.Fatalf("untouched: %v", diags)
	}
	a, b := p.Wares["ware.a"].String(), p.Wares["ware.b"].String()
	for _, edit := range [][2]string{{a, b}, {b, a}} {
		lock := filepath.Join(pr.dir, LockName)
		good := pr.lockText()
		must(t, os.WriteFile(lock, []byte(strings.Replace(good, edit[0], edit[1], 1)), 0o644))
		if diags := pr.fail(); len(diags) != 1 || !errors.Is(Cause(diags), ErrMismatch) {
			t.Errorf("%s → %s: %v", edit[0], edit[1], diags)
		}
		recs, err := pr.world.Warehouse.List(t.Context())
		must(t, err)
		for _, rec := range recs {
			if rec.ID.Packtype == "derived" {
				must(t, pr.world.Warehouse.Remove(rec.ID))
			}
		}
		p, changes := pr.resolve()
		if diags := p.VerifyLock(t.Context()); len(changes) != 0 || len(diags) != 1 || !errors.Is(Cause(diags), ErrMismatch) {
			t.Errorf("%s → %s: %v, %v", edit[0], edit[1], changes, diags)
		}
		must(t, os.WriteFile(lock, []byte(good), 0o644))
	}
}
