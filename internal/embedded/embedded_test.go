package embedded

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// TestLayout: a layout has the same id whatever the umask, and its links lead somewhere.
func TestLayout(t *testing.T) {
	var ids []warehouse.WareID
	for range 2 {
		dir := filepath.Join(t.TempDir(), "toolbox")
		if err := Lay(dir, []byte("core"), []byte("languages"), "awk\ncat\nsh\n"); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"bin/sh", "usr/bin/cat", "sbin/awk", "var/tmp"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Error(err)
			}
		}
		if data, err := os.ReadFile(filepath.Join(dir, "bin/awk")); err != nil || string(data) != "languages" {
			t.Errorf("bin/awk is %q, %v", data, err)
		}
		r, err := pack.Scan(context.Background(), dir, pack.Options{})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.ID)
	}
	if ids[0] != ids[1] {
		t.Errorf("two layouts are %s and %s", ids[0], ids[1])
	}
}

// TestPutToolbox: the id computed when kiln was built is the one of what it carries.
func TestPutToolbox(t *testing.T) {
	id, err := ToolboxID()
	if errors.Is(err, ErrNotBuilt) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	l, err := warehouse.OpenLocal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 2 {
		if err := PutToolbox(context.Background(), l); err != nil {
			t.Fatal(err)
		}
	}
	if err := pack.Check(context.Background(), l, id); err != nil {
		t.Error(err)
	}
}
