// Package warehousetest has what every warehouse.Store promises as tests. A package
// that has a kind of store runs them against a real place of that kind.
package warehousetest

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/packed"
)

// A Place is somewhere to keep wares, empty at the beginning of each test.
type Place struct {
	// Open opens a store there, a new client each time. The suite closes it.
	Open func(t testing.TB) warehouse.Store
	// ReadOnly opens a store there for one who may not write. nil: there is no such.
	ReadOnly func(t testing.TB) warehouse.Store
	// Edit changes the bytes that the place keeps of a ware. nil: it cannot be done.
	Edit func(t testing.TB, id warehouse.WareID, edit func([]byte) []byte)
	// Stalled opens a store of which nothing more comes after some bytes of a ware, and
	// calls reached when that is so. nil: it cannot be done.
	Stalled func(t testing.TB, reached func()) warehouse.Store
	// NoMemos says that it keeps wares only.
	NoMemos bool
}

// Run runs the suite. place makes a new place for each test.
func Run(t *testing.T, place func(t testing.TB) Place) {
	for _, c := range []struct {
		name string
		test func(t *testing.T, p Place)
	}{
		{"RoundTrip", roundTrip}, {"Alias", alias}, {"Missing", missing}, {"Has", hasMany}, {"Again", again},
		{"Concurrent", concurrent}, {"Memos", memos}, {"ReadOnly", readOnly}, {"Large", large},
		{"Cancelled", cancelled}, {"Corrupt", corrupt}, {"Lying", lying}, {"Stalled", stalled}, {"Progress", progress},
		{"Unwritable", unwritable}, {"OtherTree", otherTree}, {"Hostile", hostile},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, place(t))
		})
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, p Place) warehouse.Store {
	t.Helper()
	return closing(t, p.Open(t))
}

func closing(t testing.TB, s warehouse.Store) warehouse.Store {
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close %s: %v", s, err)
		}
	})
	return s
}

// OpenLocal opens an empty warehouse for a test.
func OpenLocal(t testing.TB) *warehouse.Local {
	t.Helper()
	dir := t.TempDir()
	l, err := warehouse.OpenLocal(filepath.Join(dir, "warehouse"))
	must(t, err)
	t.Cleanup(func() {
		l.Close()
		must(t, warehouse.RemoveTree(dir))
	})
	return l
}

// Put puts a ware and fails the test if that fails.
func Put(t testing.TB, s warehouse.Store, l *warehouse.Local, rec warehouse.Record) {
	t.Helper()
	must(t, s.Put(t.Context(), rec, l, warehouse.Transfer{}))
}

// Get fetches a ware into an empty warehouse and checks what has come, file by file.
func Get(t testing.TB, s warehouse.Store, want warehouse.Record) {
	t.Helper()
	l := OpenLocal(t)
	rec, err := s.Get(t.Context(), want.ID, l, warehouse.Transfer{CacheDir: t.TempDir()})
	must(t, err)
	check(t, l, rec, want)
}

// Read reads an object to its end.
func Read(t testing.TB, o packed.Objects, name string, offset int64, version string) ([]byte, *packed.Object) {
	t.Helper()
	obj, err := o.Open(t.Context(), name, offset, version)
	must(t, err)
	defer obj.Close()
	data, err := io.ReadAll(obj)
	must(t, err)
	return data, obj
}

// check hashes rec anew and compares it to want.
func check(t testing.TB, l *warehouse.Local, rec, want warehouse.Record) {
	t.Helper()
	want.Stamp, want.Created, want.Dirs = rec.Stamp, rec.Created, rec.Dirs
	want.Alias, want.Image = rec.Alias, rec.Image
	if !reflect.DeepEqual(rec, want) {
		t.Errorf("the record is\n%+v, want\n%+v", rec, want)
	}
	there, err := l.Get(want.ID)
	must(t, err)
	if there.Tree != want.Tree {
		t.Errorf("the warehouse has the tree %s, want %s", there.Tree, want.Tree)
	}
	must(t, pack.Check(context.Background(), l, want.ID))
}

// absent checks that a failed Get has left nothing.
func absent(t testing.TB, l *warehouse.Local) {
	t.Helper()
	recs, err := l.List(t.Context())
	must(t, err)
	for _, rec := range recs {
		t.Errorf("%s is in the warehouse", rec.ID)
	}
	staged, err := filepath.Glob(l.Dir() + "/stage/*/*")
	must(t, err)
	for _, path := range staged {
		t.Errorf("%s was left", path)
	}
}

// is checks that an error matches a sentinel.
func is(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("the error is %v, want %v", err, want)
	}
}

func writeFile(t testing.TB, path, content string, mode os.FileMode) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(content), mode))
	must(t, os.Chmod(path, mode))
}
