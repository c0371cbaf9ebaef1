package api

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// serve is a client of a server that does what handler says, without a network, so that
// pauses cost no time in a bubble of synctest.
func serve(t *testing.T, handler http.HandlerFunc) *Client {
	c := &Client{}
	c.http.Transport = &c.count
	c.count.next = roundTrip(func(req *http.Request) (*http.Response, error) {
		w := httptest.NewRecorder()
		handler(w, req)
		if err := req.Context().Err(); err != nil {
			return nil, err
		}
		return w.Result(), nil
	})
	return c
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// story is a Sink that writes down what it is told.
type story struct {
	told []string
	stop context.CancelFunc // at "end"
}

func (s *story) tell(what string) {
	if s.told = append(s.told, what); strings.HasSuffix(what, "end") {
		s.stop()
	}
}

func (s *story) Replace(all []Pod) {
	names := "all:"
	for _, p := range all {
		names += " " + p.Metadata.Name
	}
	s.tell(names)
}
func (s *story) Put(p Pod)  { s.tell("put " + p.Metadata.Name) }
func (s *story) Drop(p Pod) { s.tell("drop " + p.Metadata.Name) }

func event(kind, name string, version int) string {
	return fmt.Sprintf(`{"type":%q,"object":{"metadata":{"name":%q,"resourceVersion":"%d"}}}`+"\n", kind, name, version)
}

// TestFollow: a watch that is cut off is resumed at its last event or bookmark; one that the
// server has forgotten begins anew; a server that is away is waited for.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		answers := []func(http.ResponseWriter){
			func(w http.ResponseWriter) { http.Error(w, "connection refused", http.StatusBadGateway) },
			func(w http.ResponseWriter) { http.Error(w, `{"reason":"Forbidden"}`, http.StatusForbidden) }, // it has just started
			func(w http.ResponseWriter) {
				fmt.Fprint(w, `{"metadata":{"resourceVersion":"10"},"items":[{"metadata":{"name":"a"}}]}`)
			},
			func(w http.ResponseWriter) {
				fmt.Fprint(w, event("ADDED", "b", 11), event("BOOKMARK", "", 15), `{"type":"MODI`)
			},
			func(w http.ResponseWriter) { fmt.Fprint(w, event("DELETED", "a", 16)) },
			func(w http.ResponseWriter) { fmt.Fprint(w, `{"type":"ERROR","object":{"code":410}}`) },
			func(w http.ResponseWriter) {
				fmt.Fprint(w, `{"metadata":{"resourceVersion":"20"},"items":[{"metadata":{"name":"b"}},{"metadata":{"name":"c"}}]}`)
			},
			func(w http.ResponseWriter) { http.Error(w, `{"reason":"Expired"}`, http.StatusGone) },
			func(w http.ResponseWriter) {
				fmt.Fprint(w, `{"metadata":{"resourceVersion":"30"},"items":[{"metadata":{"name":"end"}}]}`)
			},
		}
		c := serve(t, func(w http.ResponseWriter, req *http.Request) {
			asked = append(asked, req.URL.Query().Get("resourceVersion"))
			if len(answers) == 0 {
				return
			}
			answers[0](w)
			answers = answers[1:]
		})
		ctx, stop := context.WithCancel(t.Context())
		s := &story{stop: stop}
		if err := Follow(ctx, c, "/pods", nil, s); err != context.Canceled {
			t.Errorf("Follow: %v", err)
		}
		if want := []string{"all: a", "put b", "drop a", "all: b c", "all: end"}; !slices.Equal(s.told, want) {
			t.Errorf("told %q, want %q", s.told, want)
		}
		if want := []string{"", "", "", "10", "15", "16", "", "20", ""}; !slices.Equal(asked[:min(len(asked), len(want))], want) {
			t.Errorf("asked from %q, want %q", asked, want)
		}
	})
}

// TestFollowRefused: who may not watch is told so at once.
func TestFollowRefused(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"message":"pods is forbidden: User \"x\" cannot list"}`, http.StatusForbidden)
	})
	err := Follow(t.Context(), c, "/pods", nil, &story{})
	if !Is(err, http.StatusForbidden) || !strings.Contains(err.Error(), `User "x" cannot list`) {
		t.Errorf("%v", err)
	}
}

func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		c := serve(t, func(w http.ResponseWriter, req *http.Request) {
			switch n := calls.Add(1); {
			case req.Method == http.MethodDelete:
				http.Error(w, `{"reason":"NotFound"}`, http.StatusNotFound)
			case n <= 2:
				http.Error(w, "dial tcp: refused", http.StatusBadGateway)
			case n == 3:
				http.Error(w, `{"reason":"Forbidden"}`, http.StatusForbidden)
			default:
				fmt.Fprint(w, `{"metadata":{"name":"job"}}`)
			}
		})
		var job Job
		if err := c.Create(t.Context(), "/jobs", map[string]string{}, &job); err != nil || job.Metadata.Name != "job" {
			t.Errorf("after the server was away: %v, %+v", err, job)
		}
		if got := c.Counts(); got.Calls != 4 || got.Sent != 8 {
			t.Errorf("%+v", got)
		}
		if err := c.Delete(t.Context(), "/jobs/none", true); err != nil {
			t.Errorf("delete what is not there: %v", err)
		}
		time.Sleep(time.Minute)
		calls.Store(2)
		began := time.Now()
		if err := c.Create(t.Context(), "/jobs", nil, nil); !Is(err, http.StatusForbidden) || time.Since(began) > 0 {
			t.Errorf("a refusal of a server that has been there: %v after %v", err, time.Since(began))
		}
	})
}

// TestCut: a log that is cut off is an error, one that ends is none.
func TestCut(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		fmt.Fprint(w, "line\n")
		if req.URL.Path == "/cut" {
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	})}
	go server.Serve(listener)
	defer server.Close()
	c := &Client{}
	c.http.Transport = &c.count
	c.count.next = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", listener.Addr().String())
	}}
	for path, whole := range map[string]bool{"/whole": true, "/cut": false} {
		body, err := c.Stream(t.Context(), path, nil)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if _, err := io.Copy(&text, body); (err == nil) != whole || text.String() != "line\n" {
			t.Errorf("%s: %q, %v", path, text.String(), err)
		}
		body.Close()
	}
}
