package kubernetes_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A gate stands between kiln and the API server: it counts what passes, and tells a test of
// each request before it reaches the server and when its answer is there.
type gate struct {
	kubeconfig            string // leads to the gate
	calls, sent, received atomic.Int64

	answer func(line []byte) []byte // changes what the server says; nil: it is passed on as it comes

	mu   sync.Mutex
	seen map[string]int // calls, by what they are
	told func(call)
}

// A call is a request on its way.
type call struct {
	what string // method and collection, such as "POST jobs" or "GET log"
	nth  int    // of these, from 1
	back bool   // its answer is there
}

func newGate(t *testing.T) *gate {
	t.Helper()
	text, err := os.ReadFile(os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	var config struct {
		Clusters []struct{ Cluster struct{ Server string } }
		Users    []struct{ User struct{ Token string } }
	}
	if err := json.Unmarshal(text, &config); err != nil {
		t.Fatal(err)
	}
	base, err := url.Parse(config.Clusters[0].Cluster.Server)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{kubeconfig: filepath.Join(t.TempDir(), "kubeconfig"), seen: map[string]int{}}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(base)
			r.Out.Header.Set("Authorization", "Bearer "+config.Users[0].User.Token) // nobody sends it in the clear
		},
		Transport:      &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true},
		FlushInterval:  -1,
		ModifyResponse: g.passBack,
		ErrorHandler:   func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.calls.Add(1)
		g.sent.Add(max(0, r.ContentLength))
		c := call{what: r.Method + " " + collection(r.URL.Path)}
		g.mu.Lock()
		g.seen[c.what]++
		c.nth = g.seen[c.what]
		g.mu.Unlock()
		g.tell(c)
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), call{}, c)))
	}))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	text = bytes.ReplaceAll(text, []byte(base.String()), []byte(server.URL))
	if err := os.WriteFile(g.kubeconfig, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return g
}

// collection is the kind of objects that a path is about.
func collection(path string) string {
	for _, kind := range []string{"log", "jobs", "pods", "workloads", "configmaps", "networkpolicies"} {
		if strings.Contains(path+"/", "/"+kind+"/") {
			return kind
		}
	}
	return path
}

func (g *gate) tell(c call) {
	g.mu.Lock()
	told := g.told
	g.mu.Unlock()
	if told != nil {
		told(c)
	}
}

// tells has f told of all requests from now on; nil: nobody.
func (g *gate) tells(f func(call)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.told = f
}

func (g *gate) passBack(resp *http.Response) error {
	c := resp.Request.Context().Value(call{}).(call)
	c.back = true
	g.tell(c)
	resp.Body = &gateBody{resp.Body, &g.received}
	if g.answer == nil {
		return nil
	}
	resp.ContentLength = -1
	resp.Header.Del("Content-Length")
	body, out := resp.Body, (*io.PipeWriter)(nil)
	resp.Body, out = io.Pipe()
	go func() {
		defer body.Close()
		lines := bufio.NewReader(body) // an object is one
		for {
			line, err := lines.ReadBytes('\n')
			if _, lost := out.Write(g.answer(line)); err == nil {
				err = lost
			}
			if err != nil {
				out.CloseWithError(err)
				return
			}
		}
	}()
	return nil
}

// A gateBody is an answer that is counted.
type gateBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b *gateBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}
