package warehousetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// roundTrip puts wares of all sorts with one client and gets them with another.
func roundTrip(t *testing.T, p Place) {
	l, s := OpenLocal(t), open(t, p)
	made := Wares(t, l)
	for name, rec := range made {
		if err := s.Put(t.Context(), rec, l, warehouse.Transfer{}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := open(t, p)
	for name, rec := range made {
		t.Run(name, func(t *testing.T) { Get(t, other, rec) })
	}
}

// again puts one ware twice, and gets it into a warehouse that has it.
func again(t *testing.T, p Place) {
	l, s := OpenLocal(t), open(t, p)
	rec := Small(t, l, "again")
	for range 2 {
		Put(t, s, l, rec)
		Get(t, open(t, p), rec)
	}
	got, err := s.Get(t.Context(), rec.ID, l, warehouse.Transfer{})
	must(t, err)
	check(t, l, got, rec)
}

// alias puts a commit: what is put is its tree.
func alias(t *testing.T, p Place) {
	l, s := OpenLocal(t), open(t, p)
	tree := Small(t, l, "alias")
	commit := warehouse.WareID{Packtype: "git", Hash: "0123456789abcdef0123456789abcdef01234567"}
	must(t, l.Alias(warehouse.Record{ID: commit, Tree: tree.ID}))
	rec, err := l.Get(commit)
	must(t, err)
	Put(t, s, l, rec)
	Get(t, open(t, p), tree)
}

// missing asks for what is not there.
func missing(t *testing.T, p Place) {
	l, s := OpenLocal(t), open(t, p)
	rec := Small(t, OpenLocal(t), "missing")
	for _, id := range []warehouse.WareID{rec.ID,
		{Packtype: pack.Tar, Hash: "4z9DCTxoKkStqXQRwtf9nimpfQQ36dbndDsAPCQgECfbXt3edanUrsVKCjE9TkX2v9"},
		{Packtype: "git", Hash: "0123456789abcdef0123456789abcdef01234567"},
	} {
		_, err := s.Get(t.Context(), id, l, warehouse.Transfer{CacheDir: t.TempDir()})
		is(t, err, warehouse.ErrMissing)
		if has, err := s.Has(t.Context(), []warehouse.WareID{id}); err != nil || has[0] {
			t.Errorf("has %s: %v, %v", id, has, err)
		}
	}
	absent(t, l)
}

// hasMany asks for a thousand wares, of which ten are there.
func hasMany(t *testing.T, p Place) {
	l, s := OpenLocal(t), open(t, p)
	ids := make([]warehouse.WareID, 1000)
	for i := range ids {
		sum := sha256.Sum256(fmt.Append(nil, i))
		ids[i] = warehouse.WareID{Packtype: pack.Tree, Hash: hex.EncodeToString(sum[:]) + "-80"}
		if i%100 == 99 {
			rec := Small(t, l, fmt.Sprint(i))
			Put(t, s, l, rec)
			ids[i] = rec.ID
		}
	}
	has, err := open(t, p).Has(t.Context(), ids)
	must(t, err)
	if len(has) != len(ids) {
		t.Fatalf("%d answers about %d wares", len(has), len(ids))
	}
	for i, has := range has {
		if has != (i%100 == 99) {
			t.Errorf("ware %d: %v", i, has)
		}
	}
	if has, err := s.Has(t.Context(), nil); err != nil || len(has) != 0 {
		t.Errorf("of no wares: %v, %v", has, err)
	}
}

// concurrent puts and gets one ware, and others, from several clients at once.
func concurrent(t *testing.T, p Place) {
	const clients = 4
	l := OpenLocal(t)
	shared := Noise(t, l, 1<<20, 3)
	into, cache := OpenLocal(t), t.TempDir()
	var wg sync.WaitGroup
	for i := range clients {
		s, own := open(t, p), Small(t, l, fmt.Sprint("client ", i))
		wg.Go(func() {
			for _, rec := range []warehouse.Record{shared, own, shared} {
				if err := s.Put(t.Context(), rec, l, warehouse.Transfer{}); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
				if _, err := s.Get(t.Context(), rec.ID, into, warehouse.Transfer{CacheDir: cache}); err != nil {
					t.Errorf("client %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	Get(t, open(t, p), shared)
	got, err := into.Get(shared.ID)
	must(t, err)
	check(t, into, got, shared)
}

// memos puts memos and replaces one.
func memos(t *testing.T, p Place) {
	if p.NoMemos {
		t.Skip("this kind of store keeps no memos")
	}
	s := open(t, p)
	key := func(text string) warehouse.StepKey {
		sum := sha256.Sum256([]byte(text))
		return warehouse.StepKey(hex.EncodeToString(sum[:]))
	}
	_, err := s.Memo(t.Context(), key("missing"))
	is(t, err, warehouse.ErrMissing)
	for name, sealed := range map[string][]byte{"one": []byte("{}\n"), "binary": {0, 1, 0xff}, "large": noise(1<<20, 5)} {
		must(t, s.PutMemo(t.Context(), key(name), []byte("before")))
		must(t, s.PutMemo(t.Context(), key(name), sealed))
		got, err := open(t, p).Memo(t.Context(), key(name))
		must(t, err)
		if !bytes.Equal(got, sealed) {
			t.Errorf("memo %s has %d bytes, want %d", name, len(got), len(sealed))
		}
	}
	for _, bad := range []warehouse.StepKey{"", "../../../etc/passwd", key("x") + "/"} {
		if _, err := s.Memo(t.Context(), bad); err == nil || errors.Is(err, warehouse.ErrMissing) {
			t.Errorf("memo %q: %v", bad, err)
		}
		if err := s.PutMemo(t.Context(), bad, nil); err == nil {
			t.Errorf("put memo %q: no error", bad)
		}
	}
}

// readOnly reads with one who may not write.
func readOnly(t *testing.T, p Place) {
	if p.ReadOnly == nil {
		t.Skip("this kind of store has no clients that only read")
	}
	l, s := OpenLocal(t), open(t, p)
	rec := Small(t, l, "there")
	Put(t, s, l, rec)
	reader := closing(t, p.ReadOnly(t))
	Get(t, reader, rec)
	is(t, reader.Put(t.Context(), Small(t, l, "more"), l, warehouse.Transfer{}), warehouse.ErrReadOnly)
	must(t, reader.Put(t.Context(), rec, l, warehouse.Transfer{})) // it is there
	if !p.NoMemos {
		is(t, reader.PutMemo(t.Context(), warehouse.StepKey(fmt.Sprintf("%064x", 1)), []byte("{}")), warehouse.ErrReadOnly)
	}
}

// unwritable puts a ware of a warehouse that can only be read.
func unwritable(t *testing.T, p Place) {
	l, s := OpenLocal(t), open(t, p)
	rec := Small(t, l, "unwritable")
	reader, err := warehouse.OpenReader(l.Dir())
	must(t, err)
	defer reader.Close()
	Put(t, s, reader, rec)
	Get(t, open(t, p), rec)
	empty, err := warehouse.OpenReader(t.TempDir())
	must(t, err)
	defer empty.Close()
	_, err = s.Get(t.Context(), rec.ID, empty, warehouse.Transfer{})
	is(t, err, warehouse.ErrReadOnly)
}

// large puts and gets a ware of 50 MB.
func large(t *testing.T, p Place) {
	if testing.Short() {
		t.Skip("-short")
	}
	l, s := OpenLocal(t), open(t, p)
	rec := Noise(t, l, 50<<20, 11)
	Put(t, s, l, rec)
	Get(t, open(t, p), rec)
}

// progress checks what Put and Get tell: it grows, and ends with all.
func progress(t *testing.T, p Place) {
	l, s := OpenLocal(t), open(t, p)
	rec := Noise(t, l, 4<<20, 13)
	var last, total int64
	tell := func(done, of int64) {
		if done < last || of >= 0 && done > of {
			t.Errorf("%d of %d bytes after %d", done, of, last)
		}
		last, total = done, of
	}
	must(t, s.Put(t.Context(), rec, l, warehouse.Transfer{Progress: tell}))
	if last < rec.Bytes/2 || total >= 0 && last != total {
		t.Errorf("put ended at %d of %d bytes", last, total)
	}
	last = 0
	_, err := open(t, p).Get(t.Context(), rec.ID, OpenLocal(t), warehouse.Transfer{Progress: tell, CacheDir: t.TempDir()})
	must(t, err)
	if last < rec.Bytes/2 || total >= 0 && last != total {
		t.Errorf("get ended at %d of %d bytes", last, total)
	}
}

// otherTree gets a ware whose id another fileset has too into a warehouse that has that.
func otherTree(t *testing.T, p Place) {
	l, into, s := OpenLocal(t), OpenLocal(t), open(t, p)
	one, other := twins(t, l, into)
	Put(t, s, l, one)
	Get(t, s, one)
	got, err := s.Get(context.Background(), one.ID, into, warehouse.Transfer{})
	must(t, err)
	check(t, into, got, other) // it was there, and stays
}
