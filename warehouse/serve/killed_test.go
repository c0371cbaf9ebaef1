package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/internal/testenv"
	"github.com/kilnbuild/kiln/warehouse"
	warehousehttp "github.com/kilnbuild/kiln/warehouse/http"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/reapi"
	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

// TestMain is also the server that others kill.
func TestMain(m *testing.M) {
	dir := os.Getenv("KILN_TEST_SERVE")
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := New(Options{Dir: dir, MaxBytes: 1 << 30})
	if err == nil {
		var l net.Listener
		if l, err = net.Listen("tcp", os.Getenv("KILN_TEST_LISTEN")); err == nil {
			err = s.Serve(l)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// TestKilled kills the server at random moments while clients hand things in. What it
// has said it has, the next one has; what it was writing is swept.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var kept sync.Map // content by digest
	rounds := 20
	if testing.Short() {
		rounds = 5
	}
	s := child(t, dir)
	for range rounds {
		check(t, s.Addr, &kept)
		left, err := filepath.Glob(dir + "/tmp/*")
		if err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
		var acknowledged atomic.Int64
		after, enough := r.Int64N(60), make(chan struct{})
		var wg sync.WaitGroup
		for client := range 8 {
			wg.Go(func() {
				c := grpc.NewConn(s.Addr, grpc.Options{})
				defer c.Close()
				for handIn(t.Context(), c, client, &kept) == nil {
					if acknowledged.Add(1) == after+1 {
						close(enough)
					}
				}
			})
		}
		<-enough
		s.Kill()
		wg.Wait()
		whole(t, dir)
		s.Restart(t)
	}
	check(t, s.Addr, &kept)
}

// TestKilledBesideKilns kills the server at random moments while eight kilns push wares,
// and starts it again each time. They go on; what one has put can be fetched, and its
// memo is there.
func TestKilledBesideKilns(t *testing.T) {
	const kilns, each = 8, 3
	dir := t.TempDir()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	s := child(t, dir)
	open := func(compress reapi.Compress) warehouse.Store {
		store, err := reapi.Open("grpc://"+s.Addr, reapi.Options{Compress: compress})
		must(t, err)
		return store
	}
	var pushed sync.Map // records
	key := func(rec warehouse.Record) warehouse.StepKey {
		return warehouse.StepKey(remote.DigestOf([]byte(rec.ID.String())).Hash)
	}
	var pushing sync.WaitGroup
	for kiln := range kilns {
		pushing.Go(func() {
			l := warehousetest.OpenLocal(t)
			for i := range each {
				rec := warehousetest.Noise(t, l, 5<<20, uint64(kiln*each+i)*10)
				err := errors.New("not yet")
				for err != nil && t.Context().Err() == nil { // as a person would say it again
					store := open(reapi.Compress(kiln % 3))
					if err = store.Put(t.Context(), rec, l, warehouse.Transfer{}); err == nil {
						err = store.PutMemo(t.Context(), key(rec), []byte(rec.ID.String()))
					}
					store.Close()
				}
				pushed.Store(rec.ID, rec)
			}
		})
	}
	all := make(chan struct{})
	go func() { pushing.Wait(); close(all) }()
	for kills := 0; ; kills++ {
		var next <-chan time.Time
		if kills < 20 {
			next = time.After(time.Duration(r.Int64N(int64(2 * time.Second))))
		}
		select {
		case <-all:
			t.Logf("killed %d times", kills)
			store := open(reapi.CompressNever)
			defer store.Close()
			pushed.Range(func(_, v any) bool {
				rec := v.(warehouse.Record)
				warehousetest.Get(t, store, rec)
				if memo, err := store.Memo(t.Context(), key(rec)); err != nil || string(memo) != rec.ID.String() {
					t.Errorf("the memo of %s: %q, %v", rec.ID, memo, err)
				}
				return true
			})
			return
		case <-next:
			s.Kill()
			whole(t, dir)
			s.Restart(t)
		}
	}
}

// TestStoresKilled kills the server in the middle of transfers, both ways.
func TestStoresKilled(t *testing.T) {
	for name, open := range map[string]func(addr string) (warehouse.Store, error){
		"files": func(addr string) (warehouse.Store, error) { return reapi.Open("grpc://"+addr, reapi.Options{}) },
		"compressed": func(addr string) (warehouse.Store, error) {
			return reapi.Open("grpc://"+addr, reapi.Options{Compress: reapi.CompressAlways})
		},
		"packed": func(addr string) (warehouse.Store, error) {
			objects, err := warehousehttp.Open("http://"+addr, warehousehttp.Options{})
			return packed.New(objects), err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := child(t, t.TempDir())
			warehousetest.Killed(t, s, func(t testing.TB) warehouse.Store {
				store, err := open(s.Addr)
				must(t, err)
				return store
			})
		})
	}
}

// child starts a server of its own process.
func child(t *testing.T, dir string) *testenv.Server {
	t.Helper()
	s, err := testenv.Serve("/healthz", func(addr string) *osexec.Cmd {
		cmd := osexec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "KILN_TEST_SERVE="+dir, "KILN_TEST_LISTEN="+addr)
		return cmd
	})
	must(t, err)
	t.Cleanup(s.Kill)
	return s
}

// handIn hands in content that nobody has, in one of the ways there are.
func handIn(ctx context.Context, c *grpc.Conn, client int, kept *sync.Map) error {
	data := make([]byte, rand.IntN(300_000)+8)
	r := rand.NewChaCha8([32]byte{byte(client), byte(rand.Uint32()), byte(rand.Uint32()), byte(rand.Uint32())})
	r.Read(data)
	d := remote.DigestOf(data)
	var err error
	switch rand.IntN(3) {
	case 0:
		_, err = putStream(ctx, c, upload(d), data, 50_000)
	case 1:
		var resp remote.BatchUpdateBlobsResponse
		err = c.Call(ctx, remote.BatchUpdateBlobs, &remote.BatchUpdateBlobsRequest{Blobs: []remote.BlobUpdate{blob(data)}}, &resp)
		if err == nil {
			err = resp.Blobs[0].Status.Err()
		}
	case 2:
		result := grpc.Marshal(&remote.ActionResult{Stdout: data})
		err = c.Call(ctx, remote.UpdateActionResult, &remote.UpdateActionResultRequest{Action: d, Result: result}, new(remote.Raw))
		if err == nil {
			kept.Store("action "+d.Hash, result)
		}
		return err
	}
	if err == nil {
		kept.Store(d, data)
	}
	return err
}

// whole reads what has a name on disk: nothing is there by half.
func whole(t *testing.T, dir string) {
	t.Helper()
	contents, err := filepath.Glob(dir + "/cas/*/*")
	must(t, err)
	for _, path := range contents {
		data, err := os.ReadFile(path)
		must(t, err)
		if got := remote.DigestOf(data).Hash; got != filepath.Base(path) {
			t.Errorf("%s has %d bytes of the digest %s", path, len(data), got)
		}
	}
}

// check reads everything that was acknowledged.
func check(t *testing.T, addr string, kept *sync.Map) {
	t.Helper()
	c := grpc.NewConn(addr, grpc.Options{})
	defer c.Close()
	kept.Range(func(k, v any) bool {
		var got []byte
		var err error
		switch k := k.(type) {
		case remote.Digest:
			got, err = getStream(t.Context(), c, remote.ReadRequest{Resource: remote.ReadName("", k, 0)})
		case string:
			var raw remote.Raw
			action := remote.Digest{Hash: strings.TrimPrefix(k, "action ")}
			err = c.Call(t.Context(), remote.GetActionResult, &remote.GetActionResultRequest{Action: action}, &raw)
			got = raw
		}
		if err != nil || !bytes.Equal(got, v.([]byte)) {
			t.Errorf("%v: %d bytes of %d, %v", k, len(got), len(v.([]byte)), err)
		}
		return true
	})
}
