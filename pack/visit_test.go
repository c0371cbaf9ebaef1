package pack

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

// TestBuilderVisit: what is built to be visited is there until then, and not after.
func TestBuilderVisit(t *testing.T) {
	ctx := context.Background()
	l := openLocal(t)
	var path string
	stop := errors.New("seen enough")
	b, err := NewBuilder(ctx, l, BuildOptions{Visit: func(f *Fileset) error {
		path = f.path
		e, err := f.Resolve("a/b")
		must(t, err)
		file, err := f.Open(ctx, e)
		must(t, err)
		defer file.Close()
		if data, err := io.ReadAll(file); string(data) != "x" || err != nil {
			t.Errorf("read %q, %v", data, err)
		}
		return stop
	}})
	must(t, err)
	must(t, b.Add(&Entry{Path: "a/b", Kind: KindFile, Mode: 0o644, Size: 1}, strings.NewReader("x")))
	rec, err := b.Commit()
	if err != stop {
		t.Errorf("got %v", err)
	}
	must(t, b.Close())
	if _, err := os.Lstat(path); path == "" || err == nil || l.Has(rec.ID) {
		t.Errorf("it was kept, at %q", path)
	}
}
