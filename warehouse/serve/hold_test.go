package serve

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/gc"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
	"github.com/kilnbuild/kiln/warehouse/seal"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

// A house is a data directory that a server offers and others collect.
type house struct {
	wares *warehouse.Local
	memos *warehouse.Memos
	uses  *warehouse.Uses
}

func newHouse(t *testing.T) house {
	dir := t.TempDir()
	memos, err := warehouse.OpenMemos(filepath.Join(dir, "memo"))
	must(t, err)
	return house{warehousetest.OpenLocal(t), memos, warehouse.OpenUses(filepath.Join(dir, "use"))}
}

// ware puts a ware of one file there.
func (h house) ware(t testing.TB, content []byte) warehouse.Record {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), content, 0o644))
	rec, err := pack.Ingest(t.Context(), h.wares, dir, pack.Options{})
	must(t, err)
	return rec
}

// collect removes all that nobody holds.
func (h house) collect(t testing.TB) {
	t.Helper()
	_, err := gc.Collect(t.Context(), gc.Options{Warehouse: h.wares, Memos: h.memos, Uses: h.uses, MaxBytes: 1, KeepFor: -1, Fresh: time.Nanosecond})
	must(t, err)
}

func (h house) serve(t testing.TB) *running {
	reads, err := warehouse.OpenReader(h.wares.Dir())
	must(t, err)
	secret, err := seal.New()
	must(t, err)
	return start(t, Options{Local: reads, Memos: h.memos, Secret: secret})
}

func missing(t testing.TB, c *grpc.Conn, d remote.Digest) bool {
	t.Helper()
	var resp remote.FindMissingBlobsResponse
	must(t, c.Call(t.Context(), remote.FindMissingBlobs, &remote.FindMissingBlobsRequest{Digests: []remote.Digest{d}}, &resp))
	return len(resp.Missing) > 0
}

// TestChangedWithinTick: what comes after the server has looked, and gives a directory no
// other time since the clock of file systems stands still for a while, is seen too.
func TestChangedWithinTick(t *testing.T) {
	h := newHouse(t)
	synctest.Test(t, func(t *testing.T) {
		l, tick := newLocal(h.wares, nil), time.Now()
		dir := filepath.Join(h.wares.Dir(), "record")
		for want := range int64(3) {
			h.ware(t, fmt.Append(nil, want))
			must(t, os.Chtimes(dir+"/tree", time.Time{}, tick))
			must(t, os.Chtimes(dir, time.Time{}, tick))
			if want == 2 {
				time.Sleep(time.Second)
			}
			must(t, l.refresh(t.Context()))
			if wares, _ := l.count(); wares != want+1 {
				t.Errorf("it knows of %d wares of %d", wares, want+1)
			}
		}
	})
}

// TestPromised: what a client was told is here is not collected, in whatever way it asked,
// until the promise is old or the server ends.
func TestPromised(t *testing.T) {
	content := []byte("the content of a file")
	key := warehouse.StepKey(fmt.Sprintf("%064x", 1))
	action := func(t *testing.T, c *grpc.Conn, d remote.Digest) {
		must(t, c.Call(t.Context(), remote.GetActionResult, &remote.GetActionResultRequest{Action: d}, new(remote.Raw)))
	}
	web := func(t *testing.T, s *running, method, path string) {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+s.addr+"/"+path, nil)
		must(t, err)
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s %s: %s", method, path, resp.Status)
		}
	}
	for name, ask := range map[string]func(t *testing.T, s *running, c *grpc.Conn, id warehouse.WareID){
		"FindMissingBlobs": func(t *testing.T, s *running, c *grpc.Conn, _ warehouse.WareID) {
			if missing(t, c, remote.DigestOf(content)) {
				t.Error("it is missing")
			}
		},
		"Read": func(t *testing.T, s *running, c *grpc.Conn, _ warehouse.WareID) {
			missing(t, c, remote.Digest{Hash: fmt.Sprintf("%064x", 2), Size: 1}) // so that it has looked
			_, err := getStream(t.Context(), c, remote.ReadRequest{Resource: remote.ReadName("", remote.DigestOf(content), 0)})
			must(t, err)
		},
		"GetActionResult of a ware": func(t *testing.T, s *running, c *grpc.Conn, id warehouse.WareID) { action(t, c, remote.WareAction(id)) },
		"GetActionResult of a memo": func(t *testing.T, s *running, c *grpc.Conn, _ warehouse.WareID) { action(t, c, remote.MemoAction(key)) },
		"HEAD of a ware": func(t *testing.T, s *running, c *grpc.Conn, id warehouse.WareID) {
			web(t, s, http.MethodHead, packed.Path(id.String()))
		},
		"GET of a memo": func(t *testing.T, s *running, c *grpc.Conn, _ warehouse.WareID) {
			web(t, s, http.MethodGet, packed.Path(packed.MemoName(key)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			rec, other := h.ware(t, content), h.ware(t, []byte("another"))
			must(t, h.memos.Put(warehouse.Memo{Key: key, Step: "step", Outputs: map[string]warehouse.WareID{"out": rec.ID}, Isolation: "container"}))
			s := h.serve(t)
			ask(t, s, s.dial(t), rec.ID)
			h.collect(t)
			if !h.wares.Exists(rec.ID) || h.wares.Exists(other.ID) {
				t.Fatalf("what was promised is there: %v; what was not: %v", h.wares.Exists(rec.ID), h.wares.Exists(other.ID))
			}
			got, err := getStream(t.Context(), s.dial(t), remote.ReadRequest{Resource: remote.ReadName("", remote.DigestOf(content), 0)})
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("read %q, %v", got, err)
			}
			s.local.promises.end() // as Close does
			h.collect(t)
			if h.wares.Exists(rec.ID) {
				t.Error("it is held by a server that has ended")
			}
		})
	}
}

// TestPromiseEnds: a promise does not hold for ever.
func TestPromiseEnds(t *testing.T) {
	h := newHouse(t)
	content := []byte("content")
	rec := h.ware(t, content)
	s := h.serve(t)
	s.local.promises.last = time.Millisecond
	if missing(t, s.dial(t), remote.DigestOf(content)) {
		t.Fatal("it is missing")
	}
	for h.wares.Exists(rec.ID) {
		h.collect(t)
	}
}

// TestCollectedMeanwhile has eight clients ask for wares and read them while others make
// and collect them: what was said to be there can be read.
func TestCollectedMeanwhile(t *testing.T) {
	h := newHouse(t)
	s := h.serve(t)
	over := make(chan struct{})
	var collecting, clients sync.WaitGroup
	collecting.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				h.collect(t)
			}
		}
	})
	var told, gone sync.Map
	for client := range 8 {
		c := s.dial(t)
		clients.Go(func() {
			for i := range 20 {
				content := fmt.Appendf(nil, "content %d of client %d", i, client)
				rec := h.ware(t, content)
				if missing(t, c, remote.DigestOf(content)) {
					gone.Store(rec.ID, true)
					continue
				}
				told.Store(rec.ID, true)
				got, err := getStream(t.Context(), c, remote.ReadRequest{Resource: remote.ReadName("", remote.DigestOf(content), 0)})
				if err != nil || !bytes.Equal(got, content) {
					t.Errorf("%s was there, and then: %q, %v", rec.ID, got, err)
				}
			}
		})
	}
	clients.Wait()
	close(over)
	collecting.Wait()
	count := func(m *sync.Map) (n int) { m.Range(func(any, any) bool { n++; return true }); return n }
	t.Logf("%d were there, %d were not", count(&told), count(&gone))
}
