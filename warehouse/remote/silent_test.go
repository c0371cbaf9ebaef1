package remote

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/kilnbuild/kiln/warehouse"
)

// A mute takes every question and answers none, until who asked gives up.
type mute struct{ asked int }

func (m *mute) wait(ctx context.Context) error {
	m.asked++
	<-ctx.Done()
	return ctx.Err()
}

func (m *mute) Has(ctx context.Context, _ []warehouse.WareID) ([]bool, error) {
	return nil, m.wait(ctx)
}

func (m *mute) Get(ctx context.Context, _ warehouse.WareID, _ *warehouse.Local, _ warehouse.Transfer) (warehouse.Record, error) {
	return warehouse.Record{}, m.wait(ctx)
}

func (m *mute) Put(ctx context.Context, _ warehouse.Record, _ *warehouse.Local, _ warehouse.Transfer) error {
	return m.wait(ctx)
}

func (m *mute) Memo(ctx context.Context, _ warehouse.StepKey) ([]byte, error) {
	return nil, m.wait(ctx)
}

func (m *mute) PutMemo(ctx context.Context, _ warehouse.StepKey, _ []byte) error { return m.wait(ctx) }

func (m *mute) String() string { return "mute" }

func (m *mute) Close() error { return nil }

// TestMute asks a warehouse that never answers: each kind of question gives up, the
// warehouse is left out, and it is asked nothing more.
func TestMute(t *testing.T) {
	key := warehouse.StepKey(strings.Repeat("a", 64))
	for name, question := range map[string]func(*team, warehouse.WareID){
		"memo": func(tm *team, _ warehouse.WareID) { tm.Memo(tm.t.Context(), key) },
		"get": func(tm *team, id warehouse.WareID) {
			id.Hash = strings.Repeat("0", 64) + "-1"
			tm.Fetch(tm.t.Context(), id, nil)
		},
		"put": func(tm *team, id warehouse.WareID) { tm.push(tm.made("a", id)) },
	} {
		synctest.Test(t, func(t *testing.T) {
			var m mute
			tm := newTeam(t, newSecret(t), []string{"/mute"}, func(_ int, w *Warehouse) {
				w.Open = func(context.Context) (warehouse.Store, error) { return &m, nil }
			})
			question(tm, tm.ware("here"))
			tm.Memo(t.Context(), key)
			if m.asked != 1 || tm.Any() || len(tm.warned) != 1 || !strings.Contains(tm.warned[0], "is left out: it did not answer for 30s") {
				t.Errorf("%s: asked %d times, warned %q", name, m.asked, tm.warned)
			}
		})
	}
}

// TestReadOnly pushes to a server that takes nothing: it is told once, and then left in
// peace.
func TestReadOnly(t *testing.T) {
	var puts atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut {
			puts.Add(1)
			w.WriteHeader(http.StatusMethodNotAllowed)
			return
		}
		http.NotFound(w, r)
	}))
	defer server.Close()
	tm := newTeam(t, newSecret(t), []string{"/none"}, func(_ int, w *Warehouse) { w.URL = "ca+" + server.URL })
	one, two := tm.ware("one"), tm.ware("two")
	p := tm.NewPusher(t.Context(), nil)
	for _, id := range []warehouse.WareID{one, two} {
		p.Add(tm.made("a", id))
		if err := p.Wait(); !errors.Is(err, warehouse.ErrReadOnly) {
			t.Errorf("push: %v", err)
		}
	}
	if len(tm.warned) != 1 || puts.Load() != 1 {
		t.Errorf("%d times, warned %q", puts.Load(), tm.warned)
	}
}
