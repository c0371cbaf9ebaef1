package serve_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/http"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/reapi"
	"github.com/kilnbuild/kiln/warehouse/seal"
	"github.com/kilnbuild/kiln/warehouse/serve"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start starts a server and returns its address.
func start(t testing.TB, o serve.Options) string {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 30
	}
	o.Log = func(line string) { t.Logf("server: %s", line) }
	s, err := serve.New(o)
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() { must(t, errors.Join(s.Close(), <-done)) })
	return l.Addr().String()
}

const (
	reader = "reader-0123456789abcdef"
	writer = "writer-0123456789abcdef"
)

func tokens(t testing.TB) string {
	path := filepath.Join(t.TempDir(), "tokens")
	must(t, os.WriteFile(path, []byte("r "+reader+" ro\nw "+writer+" rw\n"), 0o600))
	return path
}

// stores opens a store in each way in which the server is one.
var stores = map[string]func(t testing.TB, addr, token string) warehouse.Store{
	"files": func(t testing.TB, addr, token string) warehouse.Store {
		s, err := reapi.Open("grpc://"+addr, reapi.Options{Token: token})
		must(t, err)
		return s
	},
	"packed": func(t testing.TB, addr, token string) warehouse.Store {
		once := retry.Policy{Pause: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}
		objects, err := http.Open("http://"+addr, http.Options{Token: token, Retry: once})
		must(t, err)
		return packed.New(objects)
	},
}

// TestSuite runs the suite for stores, both ways.
func TestSuite(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			warehousetest.Run(t, func(t testing.TB) warehousetest.Place {
				addr := start(t, serve.Options{Tokens: tokens(t)})
				return warehousetest.Place{
					Open:     func(t testing.TB) warehouse.Store { return open(t, addr, writer) },
					ReadOnly: func(t testing.TB) warehouse.Store { return open(t, addr, reader) },
				}
			})
		})
	}
}

// TestLocalWares: wares of the local warehouse can be had both ways, also those that came
// after the server started; one that was removed is missing, and one that was changed on
// disk is never given.
func TestLocalWares(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			l := warehousetest.OpenLocal(t)
			before := warehousetest.Wares(t, l)
			reads, err := warehouse.OpenReader(l.Dir())
			must(t, err)
			s := open(t, start(t, serve.Options{Local: reads}), "")
			defer s.Close()
			for what, rec := range before {
				t.Run(what, func(t *testing.T) { warehousetest.Get(t, s, rec) })
			}
			after := warehousetest.Small(t, l, "later")
			taken(t, func() error {
				has, err := s.Has(t.Context(), []warehouse.WareID{after.ID})
				if err == nil && !has[0] {
					err = warehouse.ErrMissing
				}
				return err
			})
			warehousetest.Get(t, s, after)

			must(t, l.Remove(after.ID))
			if name == "packed" {
				t.Skip("what was packed is kept packed")
			}
			missing(t, s, after.ID)
		})
	}
}

// taken waits until a server has taken up what has come to the local warehouse. It does not
// look again soon after it has taken long to look.
func taken(t *testing.T, there func() error) {
	t.Helper()
	err := there()
	for errors.Is(err, warehouse.ErrMissing) {
		time.Sleep(time.Millisecond)
		err = there()
	}
	must(t, err)
}

func missing(t *testing.T, s warehouse.Store, id warehouse.WareID) {
	t.Helper()
	_, err := s.Get(t.Context(), id, warehousetest.OpenLocal(t), warehouse.Transfer{})
	if !errors.Is(err, warehouse.ErrMissing) {
		t.Errorf("get %s: %v, want that it is missing", id, err)
	}
}

func TestLocalChanged(t *testing.T) {
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			l := warehousetest.OpenLocal(t)
			rec := warehousetest.Noise(t, l, 3<<20, 1)
			file := filepath.Join(l.Fileset(rec), "d0", "noise")
			data, err := os.ReadFile(file)
			must(t, err)
			must(t, os.Chmod(file, 0o644))
			addr := start(t, serve.Options{Local: l})
			s := open(t, addr, "")
			defer s.Close()

			data[len(data)-1] ^= 1
			must(t, os.WriteFile(file, data, 0o644))
			if _, err := s.Get(t.Context(), rec.ID, warehousetest.OpenLocal(t), warehouse.Transfer{}); err == nil {
				t.Fatal("a ware that was changed on disk was given")
			}
			// Somebody else has it whole and hands it in.
			other := warehousetest.OpenLocal(t)
			again := warehousetest.Noise(t, other, 3<<20, 1)
			warehousetest.Put(t, s, other, again)
			warehousetest.Get(t, s, again)
		})
	}
}

// TestLocalMemos: memos of this machine are offered sealed, but for those that nobody
// may rely on, that came from elsewhere, or whose wares are gone.
func TestLocalMemos(t *testing.T) {
	l := warehousetest.OpenLocal(t)
	rec := warehousetest.Small(t, l, "memo")
	memos, err := warehouse.OpenMemos(filepath.Join(t.TempDir(), "memo"))
	must(t, err)
	secret, err := seal.New()
	must(t, err)
	key := func(text string) warehouse.StepKey {
		sum := sha256.Sum256([]byte(text))
		return warehouse.StepKey(hex.EncodeToString(sum[:]))
	}
	gone := warehouse.WareID{Packtype: "tree", Hash: string(key("gone")) + "-5"}
	memo := func(name string, change func(*warehouse.Memo)) {
		m := warehouse.Memo{Key: key(name), Step: name, Outputs: map[string]warehouse.WareID{"out": rec.ID}, Isolation: "container"}
		change(&m)
		must(t, memos.Put(m))
	}
	memo("good", func(*warehouse.Memo) {})
	memo("network", func(m *warehouse.Memo) { m.Offline = "none" })
	memo("unisolated", func(m *warehouse.Memo) { m.Isolation = "none" })
	memo("elsewhere", func(m *warehouse.Memo) { m.Origin = "grpc://other" })
	memo("gone", func(m *warehouse.Memo) { m.Outputs["out"] = gone })

	with := start(t, serve.Options{Local: l, Memos: memos, Secret: secret})
	without := start(t, serve.Options{Local: l, Memos: memos})
	for way, open := range stores {
		t.Run(way, func(t *testing.T) {
			s := open(t, with, "")
			defer s.Close()
			sealed, err := s.Memo(t.Context(), key("good"))
			must(t, err)
			got, err := seal.Open(sealed, key("good"), func(k seal.Key) bool { return k == secret.Public() })
			if err != nil || got.Outputs["out"] != rec.ID {
				t.Errorf("the memo is %+v, %v", got, err)
			}
			memo("later-"+way, func(*warehouse.Memo) {})
			taken(t, func() error {
				_, err := s.Memo(t.Context(), key("later-"+way))
				return err
			})
			for _, name := range []string{"network", "unisolated", "elsewhere", "gone", "none"} {
				if _, err := s.Memo(t.Context(), key(name)); !errors.Is(err, warehouse.ErrMissing) {
					t.Errorf("memo %s: %v, want that it is missing", name, err)
				}
			}
			s = open(t, without, "")
			defer s.Close()
			if _, err := s.Memo(t.Context(), key("good")); !errors.Is(err, warehouse.ErrMissing) {
				t.Errorf("without a key: %v, want that it is missing", err)
			}
		})
	}
}

// TestEvicted: a ware of which something had to go is missing as a whole, and so is the
// memo that names it.
func TestEvicted(t *testing.T) {
	l := warehousetest.OpenLocal(t)
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			s := open(t, start(t, serve.Options{MaxBytes: 8 << 20}), "")
			defer s.Close()
			first := warehousetest.Noise(t, l, 3<<20, 10)
			warehousetest.Put(t, s, l, first)
			warehousetest.Get(t, s, first)
			for seed := range uint64(3) {
				rec := warehousetest.Noise(t, l, 3<<20, 20+seed)
				warehousetest.Put(t, s, l, rec)
				warehousetest.Get(t, s, rec)
			}
			has, err := s.Has(t.Context(), []warehouse.WareID{first.ID})
			must(t, err)
			if has[0] {
				t.Error("the store has a ware of which nothing can be left")
			}
			missing(t, s, first.ID)
			warehousetest.Put(t, s, l, first)
			warehousetest.Get(t, s, first)
		})
	}
}
