package pack

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/warehouse"
)

func TestChanges(t *testing.T) {
	l, err := warehouse.OpenLocal(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	write("a", "1")
	write("gone", "1")
	write("sub/b", "1")
	write("sub/same/c", "1")
	write("was/dir", "1")
	rec, err := Ingest(t.Context(), l, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	changed := func(limit int) string {
		t.Helper()
		changes, more, err := Changes(t.Context(), l, rec.ID, dir, Options{}, limit)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Trim(fmt.Sprint(changes), "[]") + fmt.Sprint(" ", more)
	}
	if got := changed(9); got != " false" {
		t.Errorf("nothing changed: %s", got)
	}
	write("a", "2")
	write("new/d", "1")
	write("sub/b", "2")
	write("sub/same/c", "1")
	if err := errors.Join(os.Remove(filepath.Join(dir, "gone")), os.RemoveAll(filepath.Join(dir, "was")),
		os.Chmod(filepath.Join(dir, "sub/same"), 0o700)); err != nil {
		t.Fatal(err)
	}
	write("was", "1")
	if got, want := changed(9), "{a changed} {gone removed} {new added} {sub/b changed} {sub/same/. changed} {was changed} false"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := changed(2), "{a changed} {gone removed} true"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := l.Remove(rec.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Changes(t.Context(), l, rec.ID, dir, Options{}, 9); !errors.Is(err, warehouse.ErrMissing) {
		t.Errorf("of a ware that is gone: %v", err)
	}
}
