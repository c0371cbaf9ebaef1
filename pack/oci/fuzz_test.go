package oci

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/oci/ocitest"
	"github.com/kilnbuild/kiln/warehouse"
)

// FuzzFlatten applies two layers of any bytes. Nothing outside the fileset changes,
// nothing is left after an error, and what was accepted is what its id says.
func FuzzFlatten(f *testing.F) {
	for _, x := range layered {
		if len(x.layers) == 2 {
			f.Add(ocitest.Layer(x.layers[0]...), ocitest.Layer(x.layers[1]...))
		}
	}
	f.Add(ocitest.Layer("link out ../../../..", "file a x"), ocitest.Layer("file out/work/.wh.canary ", "hard out/b out/a", "file out/.wh..wh..opq "))
	dir := f.TempDir()
	w, err := warehouse.OpenLocal(filepath.Join(dir, "warehouse"))
	must(f, err)
	f.Cleanup(func() {
		w.Close()
		must(f, warehouse.RemoveTree(dir))
	})
	canary := filepath.Join(w.Dir(), "work", "canary")
	must(f, os.WriteFile(canary, []byte("sings"), 0o644))
	f.Fuzz(func(t *testing.T, lower, upper []byte) {
		ctx := context.Background()
		o := pack.BuildOptions{MaxBytes: 1 << 20, MaxEntries: 1000, Replace: true}
		o.Filters = DefaultFilters()
		rec, err := flattenAll(ctx, w, o, lower, upper)
		if data, readErr := os.ReadFile(canary); string(data) != "sings" || readErr != nil {
			t.Fatalf("the canary: %q, %v", data, readErr)
		}
		if err != nil {
			if left, err := filepath.Glob(w.Dir() + "/stage/*/*"); len(left) > 0 || err != nil {
				t.Fatalf("left %v, %v", left, err)
			}
			return
		}
		r, err := pack.Scan(ctx, w.Fileset(rec), pack.Options{Filters: o.Filters})
		if err != nil || r.ID != rec.ID {
			t.Fatalf("built %s, scanned %s, %v", rec.ID, r.ID, err)
		}
		must(t, w.Remove(rec.ID))
	})
}

func flattenAll(ctx context.Context, w *warehouse.Local, o pack.BuildOptions, layers ...[]byte) (rec warehouse.Record, err error) {
	b, err := pack.NewBuilder(ctx, w, o)
	if err != nil {
		return rec, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	f := &flattener{b: b, tree: newTree(), entries: o.MaxEntries, limit: o.MaxEntries}
	for _, data := range layers {
		if err := f.apply(ctx, io.LimitReader(strings.NewReader(string(data)), 1<<20)); err != nil {
			return rec, err
		}
	}
	return b.Commit()
}
