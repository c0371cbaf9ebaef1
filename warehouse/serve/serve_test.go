package serve

import (
	"bytes"
	"context"
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A running server of a test.
type running struct {
	*Server
	addr string
	log  *lines
}

type lines struct {
	mu   sync.Mutex
	text []string
}

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, line)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.text, "\n")
}

// start starts a server on a port of its own.
func start(t testing.TB, o Options) *running {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 64 << 20
	}
	log := new(lines)
	o.Log, o.LogRequests = log.add, true
	s, err := New(o)
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute) // for one that hangs
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		must(t, <-done)
		must(t, s.Close())
		if t.Failed() {
			t.Logf("the server's log:\n%s", log)
		}
	})
	return &running{s, l.Addr().String(), log}
}

// dial returns a client of gRPC.
func (r *running) dial(t testing.TB) *grpc.Conn {
	c := grpc.NewConn(r.addr, grpc.Options{MaxMessage: 64 << 20})
	t.Cleanup(func() { c.Close() })
	return c
}

func noise(t testing.TB, n int) []byte {
	t.Helper()
	data := make([]byte, n)
	_, err := rand.Read(data)
	must(t, err)
	return data
}

// putStream writes content with ByteStream, in pieces.
func putStream(ctx context.Context, c *grpc.Conn, name string, data []byte, piece int) (int64, error) {
	s := c.Stream(ctx, remote.Write)
	defer s.Close()
	for off := 0; ; off += piece {
		end := min(off+piece, len(data))
		req := &remote.WriteRequest{Resource: name, Offset: int64(off), Data: data[off:end], Finish: end == len(data)}
		if err := s.Send(req); err != nil || req.Finish {
			break
		}
	}
	s.CloseSend()
	var resp remote.WriteResponse
	err := s.ReceiveOnly(&resp)
	return resp.Committed, err
}

// getStream reads content with ByteStream.
func getStream(ctx context.Context, c *grpc.Conn, r remote.ReadRequest) ([]byte, error) {
	s := c.Stream(ctx, remote.Read)
	defer s.Close()
	if err := s.Send(&r); err != nil {
		return nil, s.Receive(new(remote.ReadResponse))
	}
	s.CloseSend()
	var data []byte
	for {
		var resp remote.ReadResponse
		err := s.Receive(&resp)
		if err != nil {
			if err.Error() == "EOF" {
				err = nil
			}
			return data, err
		}
		data = append(data, resp.Data...)
	}
}

func is(t testing.TB, err error, want grpc.Code) {
	t.Helper()
	if got := grpc.CodeOf(err); got != want {
		t.Errorf("got %v (%v), want %v", got, err, want)
	}
}

func upload(d remote.Digest) string { return remote.WriteName("", "1", d, remote.Identity) }

func TestStreams(t *testing.T) {
	s := start(t, Options{})
	c := s.dial(t)
	ctx := t.Context()
	for _, n := range []int{0, 1, pieceSize - 1, pieceSize, pieceSize + 1, 3 << 20} {
		data := noise(t, n)
		d := remote.DigestOf(data)
		if n > 0 {
			_, err := getStream(ctx, c, remote.ReadRequest{Resource: remote.ReadName("", d, 0)})
			is(t, err, grpc.NotFound)
		}
		for range 2 { // the second one learns that it is there
			got, err := putStream(ctx, c, upload(d), data, 1<<20)
			if err != nil || got != int64(n) {
				t.Fatalf("%d bytes: committed %d, %v", n, got, err)
			}
		}
		got, err := getStream(ctx, c, remote.ReadRequest{Resource: remote.ReadName("any/instance", d, 0)})
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: read %d, %v", n, len(got), err)
		}
	}
}

func TestReadParts(t *testing.T) {
	s := start(t, Options{})
	c := s.dial(t)
	ctx := t.Context()
	data := noise(t, 1000)
	d := remote.DigestOf(data)
	_, err := putStream(ctx, c, upload(d), data, 100)
	must(t, err)
	for _, x := range []struct {
		offset, limit int64
		want          []byte
		code          grpc.Code
	}{
		{0, 0, data, grpc.OK}, {1, 0, data[1:], grpc.OK}, {0, 10, data[:10], grpc.OK}, {990, 1 << 62, data[990:], grpc.OK},
		{1000, 0, nil, grpc.OK}, {1001, 0, nil, grpc.OutOfRange}, {-1, 0, nil, grpc.OutOfRange}, {0, -1, nil, grpc.InvalidArgument},
	} {
		got, err := getStream(ctx, c, remote.ReadRequest{Resource: remote.ReadName("", d, 0), Offset: x.offset, Limit: x.limit})
		is(t, err, x.code)
		if !bytes.Equal(got, x.want) {
			t.Errorf("from %d, at most %d: %d bytes, want %d", x.offset, x.limit, len(got), len(x.want))
		}
	}
}

// TestLies: what is not what it is said to be is refused, and nothing is kept.
func TestLies(t *testing.T) {
	s := start(t, Options{MaxBytes: 1 << 20})
	c := s.dial(t)
	ctx := t.Context()
	data := noise(t, 5000)
	d := remote.DigestOf(data)
	other := remote.DigestOf([]byte("other"))
	for _, x := range []struct {
		name string
		data []byte
		want grpc.Code
	}{
		{upload(remote.Digest{Hash: other.Hash, Size: d.Size}), data, grpc.InvalidArgument},
		{upload(remote.Digest{Hash: d.Hash, Size: d.Size - 1}), data, grpc.InvalidArgument},
		{upload(remote.Digest{Hash: d.Hash, Size: d.Size + 1}), data, grpc.InvalidArgument},
		{upload(remote.Digest{Hash: d.Hash, Size: 0}), data, grpc.InvalidArgument},
		{upload(remote.Digest{Hash: d.Hash, Size: 4 << 30}), data, grpc.ResourceExhausted},
		{upload(remote.Digest{Hash: d.Hash, Size: 1<<63 - 1}), data, grpc.ResourceExhausted},
		{upload(remote.Digest{Hash: d.Hash, Size: -1}), data, grpc.InvalidArgument},
		{upload(remote.Digest{Hash: strings.ToUpper(d.Hash), Size: d.Size}), data, grpc.InvalidArgument},
		{upload(remote.Digest{Hash: d.Hash[:40], Size: d.Size}), data, grpc.InvalidArgument},
		{"uploads/1/blobs/../../../etc/passwd/5", data, grpc.InvalidArgument},
		{"", data, grpc.InvalidArgument},
		{remote.ReadName("", d, 0), data, grpc.InvalidArgument},
		{remote.WriteName("", "1", d, remote.Zstd), data, grpc.InvalidArgument},
		{upload(d), data[:100], grpc.InvalidArgument},
	} {
		_, err := putStream(ctx, c, x.name, x.data, 1000)
		if grpc.CodeOf(err) != x.want {
			t.Errorf("%.60s: %v, want %v", x.name, err, x.want)
		}
		if err != nil && strings.Contains(err.Error(), s.o.Dir) {
			t.Errorf("%.60s: the client is told of the server's directories: %v", x.name, err)
		}
	}
	if st := s.store.Stats(); st.Entries != 0 || st.Bytes != 0 {
		t.Errorf("kept: %+v", st)
	}
	_, err := putStream(ctx, c, upload(d), data, 1000)
	must(t, err)
}

func TestCompressed(t *testing.T) {
	s := start(t, Options{})
	c := s.dial(t)
	ctx := t.Context()
	for _, data := range [][]byte{noise(t, 10), bytes.Repeat([]byte("kiln "), 1<<20), noise(t, 3<<20)} {
		d := remote.DigestOf(data)
		packed := zstdOf(t, data)
		name := remote.WriteName("i", "1", d, remote.Zstd)
		got, err := putStream(ctx, c, name, packed, 100_000)
		if err != nil || got != int64(len(packed)) {
			t.Fatalf("committed %d of %d, %v", got, len(packed), err)
		}
		if got, err = putStream(ctx, c, name, packed, 100_000); err != nil || got != -1 {
			t.Errorf("again: committed %d, %v", got, err)
		}
		for _, offset := range []int64{0, 1, d.Size} {
			z, err := getStream(ctx, c, remote.ReadRequest{Resource: remote.ReadName("", d, remote.Zstd), Offset: offset})
			must(t, err)
			back, err := uncompressed(z, d.Size-offset, remote.Zstd)
			if err != nil || !bytes.Equal(back, data[offset:]) {
				t.Errorf("from %d: %d bytes, %v", offset, len(back), err)
			}
		}
		_, err = getStream(ctx, c, remote.ReadRequest{Resource: remote.ReadName("", d, remote.Zstd), Limit: 5})
		is(t, err, grpc.InvalidArgument)
	}
}

// TestBomb: what becomes larger than it was said to is not written.
func TestBomb(t *testing.T) {
	s := start(t, Options{})
	c := s.dial(t)
	packed := zstdOf(t, make([]byte, 100<<20))
	d := remote.Digest{Hash: remote.DigestOf(nil).Hash, Size: 1000}
	d.Hash = "1" + d.Hash[1:]
	_, err := putStream(t.Context(), c, remote.WriteName("", "1", d, remote.Zstd), packed, 1000)
	is(t, err, grpc.InvalidArgument)
	if st := s.store.Stats(); st.Bytes != 0 {
		t.Errorf("kept: %+v", st)
	}
}

func zstdOf(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := codec.Encoder(&b)
	must(t, err)
	_, err = z.Write(data)
	must(t, err)
	must(t, z.Close())
	return b.Bytes()
}

// TestResume: an upload that ended early goes on where it ended, if its client asks.
func TestResume(t *testing.T) {
	s := start(t, Options{})
	c := s.dial(t)
	ctx := t.Context()
	data := noise(t, 1<<20)
	d := remote.DigestOf(data)
	name := upload(d)
	first := c.Stream(ctx, remote.Write)
	must(t, first.Send(&remote.WriteRequest{Resource: name, Data: data[:400_000]}))
	must(t, first.CloseSend())
	is(t, first.ReceiveOnly(new(remote.WriteResponse)), grpc.InvalidArgument)

	var status remote.QueryWriteStatusResponse
	must(t, c.Call(ctx, remote.QueryWriteStatus, &remote.QueryWriteStatusRequest{Resource: name}, &status))
	if status.Committed != 400_000 || status.Complete {
		t.Fatalf("status %+v", status)
	}
	second := c.Stream(ctx, remote.Write)
	must(t, second.Send(&remote.WriteRequest{Resource: name, Offset: 400_000, Data: data[400_000:], Finish: true}))
	must(t, second.CloseSend())
	var done remote.WriteResponse
	must(t, second.ReceiveOnly(&done))
	if done.Committed != d.Size {
		t.Errorf("committed %d", done.Committed)
	}
	must(t, c.Call(ctx, remote.QueryWriteStatus, &remote.QueryWriteStatusRequest{Resource: name}, &status))
	if status.Committed != d.Size || !status.Complete {
		t.Errorf("status %+v", status)
	}
	got, err := getStream(ctx, c, remote.ReadRequest{Resource: remote.ReadName("", d, 0)})
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

// TestGone: a client that disappears leaves nothing that stays.
func TestGone(t *testing.T) {
	s := start(t, Options{})
	data := noise(t, 1<<20)
	d := remote.DigestOf(data)
	ctx, cancel := context.WithCancel(t.Context())
	st := s.dial(t).Stream(ctx, remote.Write)
	must(t, st.Send(&remote.WriteRequest{Resource: upload(d), Data: data[:500_000]}))
	cancel()
	st.Close()
	// The next one begins anew, whatever became of the first.
	got, err := putStream(t.Context(), s.dial(t), upload(d), data, 100_000)
	if err != nil || got != d.Size {
		t.Errorf("committed %d, %v", got, err)
	}
}

// TestDamaged: content that was changed on disk is never sent as if it were right, and
// can be handed in again.
func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	data := noise(t, 2*pieceSize+5)
	d := remote.DigestOf(data)
	path := filepath.Join(dir, "cas", d.Hash[:2], d.Hash)
	for what, edit := range map[string]func([]byte) []byte{
		"changed":   func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"truncated": func(b []byte) []byte { return b[:len(b)-1] },
		"empty":     func(b []byte) []byte { return nil },
	} {
		damage := func() { must(t, os.WriteFile(path, edit(bytes.Clone(data)), 0o600)) }
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, data, 0o600))
		t.Run(what+" while it runs", func(t *testing.T) { damagedOnce(t, dir, d, data, damage) })
		damage()
		t.Run(what+" before", func(t *testing.T) { damagedOnce(t, dir, d, data, func() {}) })
	}
}

func damagedOnce(t *testing.T, dir string, d remote.Digest, data []byte, damage func()) {
	t.Helper()
	c := start(t, Options{Dir: dir}).dial(t)
	damage()
	for _, r := range []remote.ReadRequest{{Limit: 10}, {}} {
		r.Resource = remote.ReadName("", d, 0)
		got, err := getStream(t.Context(), c, r)
		if err == nil {
			t.Errorf("%d wrong bytes were sent as right", len(got))
		}
	}
	if _, err := putStream(t.Context(), c, upload(d), data, 1<<20); err != nil {
		t.Fatal(err)
	}
	got, err := getStream(t.Context(), c, remote.ReadRequest{Resource: remote.ReadName("", d, 0)})
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("handed in again: %d bytes, %v", len(got), err)
	}
}
