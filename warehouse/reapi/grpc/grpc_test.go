package grpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A note is a message with a field of most types.
type note struct {
	Text  string
	N     int64
	Kinds []int32
	Data  []byte
	Sub   *note
	Subs  []note
	Flag  bool
	Names []string
}

func (m *note) Fields(f *Fields) {
	f.String(1, &m.Text)
	f.Int64(2, &m.N)
	Enums(f, 3, &m.Kinds)
	f.Bytes(4, &m.Data)
	Sub(f, 5, &m.Sub)
	Subs(f, 6, &m.Subs)
	f.Bool(7, &m.Flag)
	f.Strings(16, &m.Names)
}

// serve serves methods over plaintext HTTP/2 and returns a Conn to it.
func serve(t *testing.T, h http.Handler, o Options) *Conn {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var p http.Protocols
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	s := &http.Server{Handler: h, Protocols: &p}
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(l) }()
	c := NewConn(l.Addr().String(), o)
	t.Cleanup(func() { c.Close(); s.Close(); <-done })
	return c
}

func methods() *Server {
	s := &Server{}
	s.Handle("/t/Echo", Unary(func(_ context.Context, m *note) (*note, error) { return m, nil }))
	s.Handle("/t/Fail", Unary(func(_ context.Context, m *note) (*note, error) {
		return nil, Errorf(NotFound, "%s", m.Text)
	}))
	s.Handle("/t/Hang", Unary(func(ctx context.Context, m *note) (*note, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}))
	s.Handle("/t/Sum", func(_ context.Context, call *ServerCall) error {
		var sum int64
		for {
			var m note
			if err := call.Receive(&m); err == io.EOF {
				return call.Send(&note{N: sum})
			} else if err != nil {
				return err
			}
			if sum += m.N; m.Flag { // enough
				return call.Send(&note{N: sum})
			}
		}
	})
	s.Handle("/t/Count", func(_ context.Context, call *ServerCall) error {
		var m note
		if err := call.Receive(&m); err != nil {
			return err
		}
		for i := range m.N {
			if err := call.Send(&note{N: i}); err != nil {
				return err
			}
		}
		return Errorf(DataLoss, "that was all")
	})
	return s
}

func TestUnary(t *testing.T) {
	c := serve(t, methods(), Options{})
	in := &note{Text: "ä", N: -1, Data: bytes.Repeat([]byte("x"), 1<<20), Names: []string{"", "b"}, Sub: &note{}}
	var out note
	if err := c.Call(t.Context(), "/t/Echo", in, &out); err != nil {
		t.Fatal(err)
	}
	if string(Marshal(in)) != string(Marshal(&out)) {
		t.Error("the message came back changed")
	}
	text := "no such thing: 100 % ä\nof it"
	err := c.Call(t.Context(), "/t/Fail", &note{Text: text}, &out)
	if CodeOf(err) != NotFound || !strings.Contains(err.Error(), "100 % ä of it") {
		t.Errorf("Fail: %v", err)
	}
	if err := c.Call(t.Context(), "/t/None", in, &out); CodeOf(err) != Unimplemented {
		t.Errorf("a method that is not there: %v", err)
	}
}

func TestCancelled(t *testing.T) {
	c := serve(t, methods(), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	if err := c.Call(ctx, "/t/Hang", &note{}, &note{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := c.Call(ctx, "/t/Hang", &note{}, &note{}); CodeOf(err) != DeadlineExceeded {
		t.Errorf("deadline: %v", err)
	}
}

func TestStream(t *testing.T) {
	c := serve(t, methods(), Options{})
	s := c.Stream(t.Context(), "/t/Sum")
	defer s.Close()
	for i := range int64(100) {
		if err := s.Send(&note{N: i, Data: make([]byte, 10_000)}); err != nil {
			t.Fatal(err)
		}
	}
	s.CloseSend()
	var m note
	if err := s.ReceiveOnly(&m); err != nil || m.N != 4950 {
		t.Errorf("sum %d, %v", m.N, err)
	}

	s = c.Stream(t.Context(), "/t/Count")
	defer s.Close()
	s.Send(&note{N: 1000})
	s.CloseSend()
	n := int64(0)
	for ; ; n++ {
		var m note
		err := s.Receive(&m)
		if CodeOf(err) == DataLoss {
			break
		}
		if err != nil || m.N != n {
			t.Fatalf("message %d is %d: %v", n, m.N, err)
		}
	}
	if n != 1000 {
		t.Errorf("%d messages", n)
	}
}

// The server may answer before it has read all.
func TestStreamEndsEarly(t *testing.T) {
	c := serve(t, methods(), Options{})
	s := c.Stream(t.Context(), "/t/Sum")
	defer s.Close()
	m := note{N: 1, Flag: true, Data: make([]byte, 1<<20)}
	var err error
	for err == nil {
		err = s.Send(&m)
	}
	if err != io.EOF {
		t.Fatal(err)
	}
	var sum note
	if err := s.ReceiveOnly(&sum); err != nil || sum.N != 1 {
		t.Errorf("sum %d, %v", sum.N, err)
	}
}

func TestMessageTooLarge(t *testing.T) {
	s := methods()
	c := serve(t, s, Options{MaxMessage: 1000})
	big := &note{Data: make([]byte, 1001)}
	if err := c.Call(t.Context(), "/t/Echo", big, &note{}); CodeOf(err) != ResourceExhausted {
		t.Errorf("the client got %v", err)
	}
	s = methods()
	s.MaxMessage = 1000
	c = serve(t, s, Options{})
	if err := c.Call(t.Context(), "/t/Echo", big, &note{}); CodeOf(err) != ResourceExhausted {
		t.Errorf("the server said %v", err)
	}
}

// What is not gRPC is told by what it answered.
func TestNotGRPC(t *testing.T) {
	for _, tt := range []struct {
		status int
		code   Code
	}{
		{200, Unknown}, {401, Unauthenticated}, {403, PermissionDenied}, {404, Unimplemented}, {503, Unavailable}, {500, Unknown},
	} {
		c := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(tt.status)
			io.WriteString(w, "<h1>hello</h1>")
		}), Options{})
		err := c.Call(t.Context(), "/t/Echo", &note{}, &note{})
		if CodeOf(err) != tt.code || !strings.Contains(err.Error(), "text/html") {
			t.Errorf("HTTP status %d: %v", tt.status, err)
		}
	}
	old := httptest.NewServer(methods())
	defer old.Close()
	c := NewConn(strings.TrimPrefix(old.URL, "http://"), Options{})
	defer c.Close()
	if err := c.Call(t.Context(), "/t/Echo", &note{}, &note{}); CodeOf(err) != Unavailable {
		t.Errorf("a server of HTTP/1: %v", err)
	}
	old.Close()
	if err := c.Call(t.Context(), "/t/Echo", &note{}, &note{}); CodeOf(err) != Unavailable || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("no server: %v", err)
	}
}

func FuzzFields(f *testing.F) {
	f.Add(Marshal(&note{Text: "a", N: -5, Kinds: []int32{1, 0, -1}, Data: []byte{0}, Sub: &note{Flag: true}, Subs: []note{{}, {N: 1}}, Names: []string{"", "x"}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m, again note
		if Unmarshal(b, &m) != nil {
			return
		}
		once := Marshal(&m)
		if len(once) != Size(&m) {
			t.Errorf("%d bytes, measured %d", len(once), Size(&m))
		}
		if err := Unmarshal(once, &again); err != nil {
			t.Fatal(err)
		}
		if twice := Marshal(&again); !bytes.Equal(once, twice) {
			t.Errorf("% x and % x", once, twice)
		}
	})
}
