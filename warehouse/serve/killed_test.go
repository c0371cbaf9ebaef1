package serve

import (
	"bufio"
	"bytes"
	"context"
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

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

// TestMain is also the server that TestKilled kills.
func TestMain(m *testing.M) {
	dir := os.Getenv("KILN_TEST_SERVE")
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := New(Options{Dir: dir, MaxBytes: 1 << 30})
	if err == nil {
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err == nil {
			fmt.Println(l.Addr())
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
	for range rounds {
		addr, kill := child(t, dir)
		check(t, addr, &kept)
		left, err := filepath.Glob(dir + "/tmp/*")
		if err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
		var acknowledged atomic.Int64
		after, enough := r.Int64N(60), make(chan struct{})
		var wg sync.WaitGroup
		for client := range 4 {
			wg.Go(func() {
				c := grpc.NewConn(addr, grpc.Options{})
				defer c.Close()
				for handIn(t.Context(), c, client, &kept) == nil {
					if acknowledged.Add(1) == after+1 {
						close(enough)
					}
				}
			})
		}
		<-enough
		kill()
		wg.Wait()
		whole(t, dir)
	}
	addr, kill := child(t, dir)
	defer kill()
	check(t, addr, &kept)
}

// child starts a server of its own process.
func child(t *testing.T, dir string) (addr string, kill func()) {
	t.Helper()
	cmd := osexec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "KILN_TEST_SERVE="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	kill = sync.OnceFunc(func() { cmd.Process.Kill(); cmd.Wait() })
	t.Cleanup(kill)
	addr, err = bufio.NewReader(out).ReadString('\n')
	must(t, err)
	return strings.TrimSpace(addr), kill
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
