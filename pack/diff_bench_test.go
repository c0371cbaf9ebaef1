package pack

import (
	"context"
	"fmt"
	"os"
	"testing"
)

// BenchmarkDiff compares two wares of 20,000 files that differ in one, from opening
// them on; "all" is what listing every entry of one costs.
func BenchmarkDiff(b *testing.B) {
	ctx := context.Background()
	l := openLocal(b)
	dir := b.TempDir()
	for i := range 20_000 {
		sub := fmt.Sprintf("%s/d%d/e%d", dir, i%20, i%400)
		if i < 400 {
			must(b, os.MkdirAll(sub, 0o755))
		}
		must(b, os.WriteFile(fmt.Sprintf("%s/f%d", sub, i), []byte{byte(i)}, 0o644))
	}
	old, err := Ingest(ctx, l, dir, Options{})
	must(b, err)
	must(b, os.WriteFile(dir+"/d7/e7/f7", []byte("changed"), 0o644))
	new, err := Ingest(ctx, l, dir, Options{})
	must(b, err)
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			x, err := OpenFileset(ctx, l, old)
			must(b, err)
			y, err := OpenFileset(ctx, l, new)
			must(b, err)
			n := 0
			for _, err := range Diff(x.Listing, y.Listing, nil) {
				must(b, err)
				n++
			}
			if n != 1 {
				b.Fatalf("%d differences", n)
			}
		}
	})
	b.Run("all", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			x, err := OpenFileset(ctx, l, old)
			must(b, err)
			root, err := x.Root()
			must(b, err)
			for _, err := range x.Below(root) {
				must(b, err)
			}
		}
	})
}
