package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

// TestGarbage: whatever comes over the wire, the server goes on.
func TestGarbage(t *testing.T) {
	s := start(t, Options{})
	frame := func(head string) string {
		return "POST " + remote.FindMissingBlobs + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/grpc\r\nContent-Length: 5\r\n\r\n" + head
	}
	for _, garbage := range []string{
		"\x00\x01\x02", "GET\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 100),
		"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", maxHeader+8192) + "\r\n\r\n",
		"PUT /cas/" + remote.DigestOf(nil).Hash + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n",
		"PUT /cas/" + strings.Repeat("1", 64) + " HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFF\r\n",
		"PUT /cas/" + strings.Repeat("1", 64) + " HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nshort",
		frame("\x00\xff\xff\xff\xff"), frame("\x01\x00\x00\x00\x00"), "\x16\x03\x01\x02\x00\x01",
	} {
		conn, err := net.Dial("tcp", s.addr)
		must(t, err)
		// It may hang up before it has been sent all.
		_, _ = io.WriteString(conn, garbage)
		_ = conn.(*net.TCPConn).CloseWrite()
		_, _ = io.Copy(io.Discard, conn) // until it does
		conn.Close()
	}
	for _, path := range []string{"/cas/", "/cas/../../etc/passwd", "/cas/%2e%2e%2f", "/ac/xyz", "/abc/def", "/abc/abd/abcdefghij", "/memo/00/" + strings.Repeat("1", 64),
		"/abc/def/abcdef%00ghij", "/%2e%2e/%2e%2e/..x", "/" + strings.Repeat("a/", 5000)} {
		for _, method := range []string{"GET", "PUT", "DELETE", "POST", "PATCH"} {
			if code, _ := s.web(t, method, path, "", nil); code < 300 || code >= 500 {
				t.Errorf("%s %s: %d", method, path, code)
			}
		}
	}
	if code, _ := s.web(t, "GET", "/healthz", "", nil); code != 200 {
		t.Errorf("healthz: %d", code)
	}
	if st := s.store.Stats(); st.Entries != 0 {
		t.Errorf("kept: %+v", st)
	}
}

// TestBadMessages: calls that are none.
func TestBadMessages(t *testing.T) {
	s := start(t, Options{})
	for _, x := range []struct {
		method string
		body   string
		want   string
	}{
		{remote.FindMissingBlobs, "", "13"},
		{remote.FindMissingBlobs, "\x00\x00\x00\x00\x05abc", "13"},
		{remote.FindMissingBlobs, "\x00\xff\xff\xff\xffabc", "8"},
		{remote.FindMissingBlobs, "\x01\x00\x00\x00\x00", "12"},
		{remote.FindMissingBlobs, "\x00\x00\x00\x00\x03\xff\xff\xff", "13"},
		{remote.Write, "\x00\x00\x00\x00\x00", "3"},
		{"/no.Service/Method", "\x00\x00\x00\x00\x00", "12"},
	} {
		var protocols http.Protocols
		protocols.SetUnencryptedHTTP2(true)
		transport := &http.Transport{Protocols: &protocols}
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+s.addr+x.method, strings.NewReader(x.body))
		must(t, err)
		req.Header.Set("Content-Type", "application/grpc+proto")
		resp, err := transport.RoundTrip(req)
		must(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		must(t, err)
		resp.Body.Close()
		if got := resp.Trailer.Get("Grpc-Status") + resp.Header.Get("Grpc-Status"); got != x.want {
			t.Errorf("%s %q: status %q (%s), want %s", x.method, x.body, got, resp.Trailer.Get("Grpc-Message"), x.want)
		}
		transport.CloseIdleConnections()
	}
}

// TestStalled: a client that neither goes on nor away is given up, and the room it had
// is free again.
func TestStalled(t *testing.T) {
	s := start(t, Options{MaxBytes: 1 << 20, stall: 50 * time.Millisecond})
	data := noise(t, 900<<10)
	d := remote.DigestOf(data)
	st := s.dial(t).Stream(t.Context(), remote.Write)
	defer st.Close()
	_ = st.Send(&remote.WriteRequest{Resource: upload(d), Data: data[:1000]}) // it may be given up already
	if err := st.ReceiveOnly(new(remote.WriteResponse)); err == nil {
		t.Fatal("no error")
	}
	conn, err := net.Dial("tcp", s.addr)
	must(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "PUT /cas/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", d.Hash, d.Size)
	must(t, err)
	_, _ = io.Copy(io.Discard, conn) // until the server hangs up
	s.o.stall = stallTimeout         // who goes on may be slow
	_, err = putStream(t.Context(), s.dial(t), upload(d), data, 100_000)
	must(t, err)
}

// TestSameAtOnce: many clients hand the same in at once, and others read it.
func TestSameAtOnce(t *testing.T) {
	s := start(t, Options{})
	data := noise(t, 2<<20)
	d := remote.DigestOf(data)
	var wg sync.WaitGroup
	for i := range 8 {
		c := s.dial(t)
		wg.Go(func() {
			name := remote.WriteName("", fmt.Sprint(i/2), d, remote.Identity) // two have one name
			if got, err := putStream(t.Context(), c, name, data, 64<<10); err != nil || got != d.Size {
				t.Errorf("committed %d, %v", got, err)
			}
			got, err := getStream(t.Context(), c, remote.ReadRequest{Resource: remote.ReadName("", d, 0)})
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("read %d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
	if st := s.store.Stats(); st.Entries != 1 {
		t.Errorf("%+v", st)
	}
}

// TestEvictedWhileRead: what has to go while somebody reads it is read to its end.
func TestEvictedWhileRead(t *testing.T) {
	s := start(t, Options{MaxBytes: 24 << 20})
	c := s.dial(t)
	data := noise(t, 16<<20) // more than is on its way at once
	d := remote.DigestOf(data)
	_, err := putStream(t.Context(), c, upload(d), data, 1<<20)
	must(t, err)
	st := c.Stream(t.Context(), remote.Read)
	defer st.Close()
	must(t, st.Send(&remote.ReadRequest{Resource: remote.ReadName("", d, 0)}))
	must(t, st.CloseSend())
	got := receive(t, st, 1)

	other := noise(t, 20<<20)
	_, err = putStream(t.Context(), s.dial(t), upload(remote.DigestOf(other)), other, 1<<20)
	must(t, err)
	if there, _ := s.has(d); there {
		t.Error("it is still there")
	}
	got = append(got, receive(t, st, -1)...)
	if !bytes.Equal(got, data) {
		t.Errorf("%d bytes, not what was handed in", len(got))
	}
}

// TestFullDisk: uploads fail, what is there is served, and when there is room again
// uploads go on.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
	s := start(t, Options{Dir: dir, MaxBytes: 64 << 20})
	c := s.dial(t)
	ctx := t.Context()
	small := noise(t, 100_000)
	putAll(t, c, small)
	ballast := dir + "/ballast"
	must(t, os.WriteFile(ballast, make([]byte, 3<<20), 0o600))
	large := noise(t, 2<<20)
	d := remote.DigestOf(large)
	for _, name := range []string{upload(d), remote.WriteName("", "1", d, remote.Zstd)} {
		data := large
		if strings.Contains(name, "zstd") {
			data = zstdOf(t, large)
		}
		_, err := putStream(ctx, c, name, data, 100_000)
		is(t, err, grpc.ResourceExhausted)
	}
	if codes := update(t, c, blob(large)); codes[0] != grpc.ResourceExhausted {
		t.Errorf("batch: %v", codes)
	}
	for _, path := range []string{"/cas/" + d.Hash, "/abc/def/abcdefghijklm"} {
		if code, _ := s.web(t, "PUT", path, "", large); code != http.StatusInsufficientStorage {
			t.Errorf("PUT %s: %d", path, code)
		}
	}
	got, err := getStream(ctx, c, remote.ReadRequest{Resource: remote.ReadName("", remote.DigestOf(small), 0)})
	if err != nil || !bytes.Equal(got, small) {
		t.Errorf("what was there: %d bytes, %v", len(got), err)
	}
	left, err := os.ReadDir(dir + "/tmp")
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
	must(t, os.Remove(ballast))
	_, err = putStream(ctx, c, upload(d), large, 100_000)
	must(t, err)
}

// TestShutdown: a transfer under way ends, and new ones are not begun.
func TestShutdown(t *testing.T) {
	s, err := New(Options{Dir: t.TempDir(), MaxBytes: 64 << 20})
	must(t, err)
	defer s.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	r := &running{Server: s, addr: l.Addr().String()}
	c := r.dial(t)
	data := noise(t, 16<<20) // more than is on its way at once
	d := remote.DigestOf(data)
	_, err = putStream(t.Context(), c, upload(d), data, 1<<20)
	must(t, err)
	st := c.Stream(t.Context(), remote.Read)
	defer st.Close()
	must(t, st.Send(&remote.ReadRequest{Resource: remote.ReadName("", d, 0)}))
	must(t, st.CloseSend())
	got := receive(t, st, 1)

	down := make(chan error, 1)
	go func() { down <- s.Shutdown(context.Background()) }()
	must(t, <-done) // it listens no more
	if conn, err := net.Dial("tcp", r.addr); err == nil {
		conn.Close()
		t.Error("a new connection was accepted")
	}
	if got = append(got, receive(t, st, -1)...); !bytes.Equal(got, data) {
		t.Errorf("%d bytes, not what was handed in", len(got))
	}
	must(t, <-down)
}

// TestClosed: when a server has been closed, nobody writes to its directory any more.
func TestClosed(t *testing.T) {
	dir := t.TempDir()
	s, err := New(Options{Dir: dir, MaxBytes: 64 << 20})
	must(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	r := &running{Server: s, addr: l.Addr().String()}
	written := func() (paths []string) {
		paths, err := filepath.Glob(dir + "/tmp/*")
		must(t, err)
		return paths
	}
	for range 8 {
		data := noise(t, 1000)
		st := r.dial(t).Stream(t.Context(), remote.Write)
		defer st.Close()
		must(t, st.Send(&remote.WriteRequest{Resource: upload(remote.DigestOf(data)), Data: data[:500]}))
	}
	for len(written()) < 8 {
		runtime.Gosched() // until all are under way
	}
	must(t, s.Close())
	must(t, <-done)
	if left := written(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// receive receives n pieces of a Read, or all there are.
func receive(t testing.TB, st *grpc.Stream, n int) (data []byte) {
	t.Helper()
	for ; n != 0; n-- {
		var resp remote.ReadResponse
		if err := st.Receive(&resp); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		data = append(data, resp.Data...)
	}
	return data
}
