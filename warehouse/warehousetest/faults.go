package warehousetest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/warehouse"
)

// cancelled cancels transfers half-way, and does them again.
func cancelled(t *testing.T, p Place) {
	l, s := OpenLocal(t), open(t, p)
	rec := Noise(t, l, 8<<20, 17)
	half := func(cancel func()) func(done, total int64) {
		return func(done, _ int64) {
			if done > rec.Bytes/2 {
				cancel()
			}
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Put(ctx, rec, l, warehouse.Transfer{Progress: half(cancel)})
	has, hasErr := open(t, p).Has(t.Context(), []warehouse.WareID{rec.ID})
	switch {
	case hasErr != nil || err == nil && !has[0]:
		t.Errorf("put ended with %v, and then the ware is there: %v, %v", err, has, hasErr)
	case err != nil:
		is(t, err, context.Canceled)
	}
	if hasErr == nil && has[0] {
		// Also of one whose answer nobody waited for: it is there whole, or not at all.
		Get(t, open(t, p), rec)
	}
	Put(t, s, l, rec)

	into, cache := OpenLocal(t), t.TempDir()
	ctx, cancel = context.WithCancel(t.Context())
	if _, err = s.Get(ctx, rec.ID, into, warehouse.Transfer{CacheDir: cache, Progress: half(cancel)}); err != nil {
		is(t, err, context.Canceled)
		absent(t, into)
	}
	got, err := s.Get(t.Context(), rec.ID, into, warehouse.Transfer{CacheDir: cache})
	must(t, err)
	check(t, into, got, rec)
	cancel()
}

// corrupt damages what a place keeps.
func corrupt(t *testing.T, p Place) {
	if p.Edit == nil {
		t.Skip("what this kind of store keeps cannot be changed")
	}
	l := OpenLocal(t)
	rec := Noise(t, l, 3<<20, 19)
	small := Small(t, l, "corrupt")
	for name, edit := range map[string]func([]byte) []byte{
		"truncated":   func(b []byte) []byte { return b[:len(b)/2] },
		"short":       func(b []byte) []byte { return b[:len(b)-1] },
		"empty":       func([]byte) []byte { return nil },
		"begin":       func(b []byte) []byte { return flip(b, 0) },
		"middle":      func(b []byte) []byte { return flip(b, 0.5) },
		"early":       func(b []byte) []byte { return flip(b, 0.01) },
		"more":        func(b []byte) []byte { return append(b, "more"...) },
		"twice":       func(b []byte) []byte { return append(b, b...) },
		"error page":  func([]byte) []byte { return []byte("<html><title>Sign in</title>\n") },
		"zeros":       func(b []byte) []byte { return make([]byte, len(b)) },
		"end is lost": func(b []byte) []byte { return append(b[:len(b)*3/4], make([]byte, len(b)/4)...) },
	} {
		t.Run(name, func(t *testing.T) {
			for _, rec := range []warehouse.Record{rec, small} {
				s := open(t, p)
				Put(t, s, l, rec)
				p.Edit(t, rec.ID, edit)
				lie(t, s, rec.ID, rec)
				p.Edit(t, rec.ID, nil) // away with it
			}
		})
	}
}

// lying has a place give one ware for another.
func lying(t *testing.T, p Place) {
	if p.Edit == nil {
		t.Skip("what this kind of store keeps cannot be changed")
	}
	l, s := OpenLocal(t), open(t, p)
	made := Wares(t, l)
	wanted := made["small"]
	Put(t, s, l, wanted)
	for _, name := range []string{"odd", "file", "empty", "tar", "zip", "zeros"} {
		given := made[name]
		Put(t, s, l, given)
		var bytes []byte
		p.Edit(t, given.ID, func(b []byte) []byte { bytes = b; return b })
		p.Edit(t, wanted.ID, func([]byte) []byte { return bytes })
		lie(t, s, wanted.ID, wanted)
	}
}

// lie gets a ware that is not what it should be. What has come may still be the ware,
// where a place keeps it in a form of which not every byte counts.
func lie(t *testing.T, s warehouse.Store, id warehouse.WareID, want warehouse.Record) {
	t.Helper()
	l := OpenLocal(t)
	rec, err := s.Get(t.Context(), id, l, warehouse.Transfer{CacheDir: t.TempDir()})
	if err == nil {
		check(t, l, rec, want)
		return
	}
	if !errors.Is(err, warehouse.ErrMissing) {
		is(t, err, warehouse.ErrMismatch)
	}
	if !strings.Contains(err.Error(), s.String()) || !strings.Contains(err.Error(), id.String()) {
		t.Errorf("the error names not both the store and the ware: %v", err)
	}
	absent(t, l)
}

// stalled gets from a place that stops answering, until it is cancelled.
func stalled(t *testing.T, p Place) {
	if p.Stalled == nil {
		t.Skip("this kind of store cannot stall")
	}
	l := OpenLocal(t)
	rec := Noise(t, l, 4<<20, 23)
	Put(t, open(t, p), l, rec)
	ctx, cancel := context.WithCancel(t.Context())
	s, into := closing(t, p.Stalled(t, cancel)), OpenLocal(t)
	_, err := s.Get(ctx, rec.ID, into, warehouse.Transfer{CacheDir: t.TempDir()})
	is(t, err, context.Canceled)
	absent(t, into)
}
