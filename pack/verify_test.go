package pack

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/warehouse"
)

// TestVerifyDeep: what hides from the stamp is found by reading, and a warehouse that is
// open for reading only can be verified too.
func TestVerifyDeep(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	src := t.TempDir()
	sample(t, src)
	rec, err := Ingest(ctx, l, src, Options{})
	must(t, err)
	reader, err := warehouse.OpenReader(l.Dir())
	must(t, err)
	var bytes int64
	deep := VerifyOptions{Deep: true, Progress: func(_, b int64) { bytes = b }}
	must(t, Verify(ctx, reader, rec.ID, deep))
	if bytes != rec.Bytes {
		t.Errorf("read %d bytes of %d", bytes, rec.Bytes)
	}
	file, defaultMtime := l.Fileset(rec)+"/a/b/c", time.Unix(defaultTime, 0)
	must(t, os.Chtimes(l.Fileset(rec), time.Now(), time.Now()))
	must(t, os.Chtimes(l.Fileset(rec), defaultMtime, defaultMtime))
	must(t, Verify(ctx, reader, rec.ID, VerifyOptions{}))
	must(t, os.WriteFile(file, []byte("else"), 0o644))
	must(t, os.Chtimes(file, defaultMtime, defaultMtime))
	stamp, err := restat(ctx, l, rec)
	must(t, err)
	must(t, l.Restamp(rec.ID, stamp))
	must(t, Verify(ctx, l, rec.ID, VerifyOptions{}))
	for _, w := range []*warehouse.Local{l, reader} {
		if err := Verify(ctx, w, rec.ID, deep); !errors.Is(err, ErrCorrupt) {
			t.Errorf("got %v", err)
		}
	}
}

// TestVerifyBesideRemoval: a ware that is removed while it is looked at, and perhaps made
// again, has not been changed.
func TestVerifyBesideRemoval(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	src := t.TempDir()
	sample(t, src)
	rec, err := Ingest(ctx, l, src, Options{})
	must(t, err)
	done := make(chan struct{})
	var lookers sync.WaitGroup
	for _, deep := range []bool{false, true} {
		lookers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := Verify(ctx, l, rec.ID, VerifyOptions{Deep: deep}); err != nil && !errors.Is(err, warehouse.ErrMissing) {
					t.Errorf("deep %v: %v", deep, err)
					return
				}
			}
		})
	}
	for range 100 {
		must(t, l.Remove(rec.ID))
		_, err := Ingest(ctx, l, src, Options{})
		must(t, err)
	}
	close(done)
	lookers.Wait()
}
