package pack

import (
	"context"
	"errors"
	"os"
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
