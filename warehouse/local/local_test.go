package local

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	warehousetest.Run(t, func(t testing.TB) warehousetest.Place {
		dir := filepath.Join(t.TempDir(), "warehouse")
		t.Cleanup(func() { must(t, warehouse.RemoveTree(dir)) })
		open := func(open func(string) (*warehouse.Local, error)) func(testing.TB) warehouse.Store {
			return func(t testing.TB) warehouse.Store {
				l, err := open(dir)
				must(t, err)
				return New(l)
			}
		}
		return warehousetest.Place{Open: open(warehouse.OpenLocal), ReadOnly: open(warehouse.OpenReader), NoMemos: true}
	})
}

// TestChanged gets a ware that was changed where it lies.
func TestChanged(t *testing.T) {
	l, into := warehousetest.OpenLocal(t), warehousetest.OpenLocal(t)
	rec := warehousetest.Small(t, l, "changed")
	must(t, os.WriteFile(l.Fileset(rec)+"/text", []byte("CHANGED"), 0o644))
	_, err := New(l).Get(t.Context(), rec.ID, into, warehouse.Transfer{})
	if !errors.Is(err, warehouse.ErrMismatch) || !strings.Contains(err.Error(), l.Dir()) || into.Has(rec.ID) {
		t.Error(err)
	}
}

// TestAlias gets an alias by its own name.
func TestAlias(t *testing.T) {
	l, into := warehousetest.OpenLocal(t), warehousetest.OpenLocal(t)
	rec := warehousetest.Small(t, l, "alias")
	id := warehouse.WareID{Packtype: "git", Hash: strings.Repeat("0", 40)}
	must(t, l.Alias(warehouse.Record{ID: id, Tree: rec.ID}))
	got, err := New(l).Get(t.Context(), id, into, warehouse.Transfer{})
	if err != nil || got.ID != id || got.Tree != rec.ID || !into.Has(rec.ID) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestOpen makes no warehouse where there is no directory.
func TestOpen(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir + "/none"); err == nil {
		t.Error("opened what is not there")
	}
	s, err := Open(dir)
	must(t, err)
	defer s.Close()
	l := warehousetest.OpenLocal(t)
	rec := warehousetest.Small(t, l, "open")
	warehousetest.Put(t, s, l, rec)
	warehousetest.Get(t, s, rec)
	must(t, warehouse.RemoveTree(dir+"/fileset"))
}
