package warehousetest

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/kilnbuild/kiln/internal/testenv"
	"github.com/kilnbuild/kiln/warehouse"
)

// Killed kills a place's server in the middle of transfers. When it is started again they
// go on, or are done again; while it is away they fail with an error that names it; and
// nothing is ever taken for whole that is not.
func Killed(t *testing.T, server *testenv.Server, openStore func(t testing.TB) warehouse.Store) {
	l := OpenLocal(t)
	rec := oneFile(t, l, 24<<20, 31)
	// at calls f once, when a part of a ware has moved.
	at := func(f func()) func(done, total int64) {
		var once sync.Once
		return func(done, _ int64) {
			if done > rec.Bytes/3 {
				once.Do(f)
			}
		}
	}
	again := func() {
		server.Kill()
		server.Restart(t)
	}
	place := Place{Open: openStore}

	t.Run("put", func(t *testing.T) {
		must(t, open(t, place).Put(t.Context(), rec, l, warehouse.Transfer{Progress: at(again)}))
		Get(t, open(t, place), rec)
	})
	t.Run("put, and it stays away", func(t *testing.T) {
		other := oneFile(t, l, 24<<20, 61)
		err := open(t, place).Put(t.Context(), other, l, warehouse.Transfer{Progress: at(server.Kill)})
		if err == nil || !strings.Contains(err.Error(), server.Addr) {
			t.Errorf("the error names not the server: %v", err)
		}
		server.Restart(t)
		has, err := open(t, place).Has(t.Context(), []warehouse.WareID{other.ID})
		must(t, err)
		if has[0] {
			t.Error("a part is taken for the ware")
		}
		Put(t, open(t, place), l, other)
		Get(t, open(t, place), other)
	})
	t.Run("get", func(t *testing.T) {
		into := OpenLocal(t)
		got, err := open(t, place).Get(t.Context(), rec.ID, into, warehouse.Transfer{CacheDir: t.TempDir(), Progress: at(again)})
		must(t, err)
		check(t, into, got, rec)
	})
	t.Run("get, and it stays away", func(t *testing.T) {
		into, cache := OpenLocal(t), t.TempDir()
		_, err := open(t, place).Get(t.Context(), rec.ID, into, warehouse.Transfer{CacheDir: cache, Progress: at(server.Kill)})
		if err == nil || errors.Is(err, warehouse.ErrMissing) || errors.Is(err, warehouse.ErrMismatch) || !strings.Contains(err.Error(), server.Addr) {
			t.Errorf("the error names not the server: %v", err)
		}
		absent(t, into)
		server.Restart(t)
		first, last := int64(-1), int64(0)
		got, err := open(t, place).Get(t.Context(), rec.ID, into, warehouse.Transfer{CacheDir: cache, Progress: func(done, _ int64) {
			if first < 0 {
				first = done
			}
			last = done
		}})
		must(t, err)
		check(t, into, got, rec)
		if moved := last - first; moved > rec.Bytes*9/10 {
			t.Errorf("what had come was fetched again: %d of %d bytes", moved, rec.Bytes)
		}
	})
}
