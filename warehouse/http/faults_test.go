package http

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/file"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

// A world is a ware in a directory, and a server that gives it in some way.
type world struct {
	dir   string
	rec   warehouse.Record
	path  string // of the ware, on the server
	data  []byte
	mu    sync.Mutex
	asked []string // method and range of requests
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w, l := &world{dir: t.TempDir()}, warehousetest.OpenLocal(t)
	w.rec = warehousetest.Noise(t, l, 3<<20, 29)
	objects, err := file.Open(w.dir)
	must(t, err)
	warehousetest.Put(t, packed.New(objects), l, w.rec)
	w.path = "/" + packed.Path(w.rec.ID.String())
	w.data, err = os.ReadFile(w.dir + w.path)
	must(t, err)
	return w
}

// serve starts a server, whose requests are noted.
func (w *world) serve(t testing.TB, h nethttp.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(nethttp.HandlerFunc(func(rw nethttp.ResponseWriter, r *nethttp.Request) {
		w.mu.Lock()
		w.asked = append(w.asked, strings.TrimSpace(r.Method+" "+r.Header.Get("Range")))
		w.mu.Unlock()
		h(rw, r)
	}))
	t.Cleanup(s.Close)
	return s
}

// give serves the ware well, with a version.
func (w *world) give(rw nethttp.ResponseWriter, r *nethttp.Request, version string) {
	if r.URL.Path != w.path {
		nethttp.NotFound(rw, r)
		return
	}
	if version != "" {
		rw.Header().Set("ETag", version)
	}
	nethttp.ServeContent(rw, r, "", time.Time{}, bytes.NewReader(w.data))
}

func (w *world) get(t testing.TB, url string, o Options) error {
	t.Helper()
	o.Retry = noPause
	objects, err := Open(url, o)
	must(t, err)
	s := packed.New(objects)
	defer s.Close()
	_, err = s.Get(t.Context(), w.rec.ID, warehousetest.OpenLocal(t), warehouse.Transfer{CacheDir: t.TempDir()})
	return err
}

// drop breaks the connection off after n bytes of the ware.
func (w *world) drop(rw nethttp.ResponseWriter, n int) {
	rw.Header().Set("Content-Length", fmt.Sprint(len(w.data)))
	_, _ = rw.Write(w.data[:n])
	rw.(nethttp.Flusher).Flush()
	panic(nethttp.ErrAbortHandler)
}

// TestFaults: servers that fail for a while are asked again, and for the rest only.
func TestFaults(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		name  string
		fault func(rw nethttp.ResponseWriter, r *nethttp.Request, n int) bool // of the nth request, from 1; false: none
		asked string
		want  string // in the error; "": there is none
	}{
		{"well", func(nethttp.ResponseWriter, *nethttp.Request, int) bool { return false }, "GET", ""},
		{"killed half-way", func(rw nethttp.ResponseWriter, _ *nethttp.Request, n int) bool {
			if n == 1 {
				rw.Header().Set("ETag", `"1"`)
				w.drop(rw, 1<<20)
			}
			return false
		}, "GET;GET bytes=1048576-", ""},
		{"killed and changed", func(rw nethttp.ResponseWriter, r *nethttp.Request, n int) bool {
			if n == 1 {
				rw.Header().Set("ETag", `"0"`)
				w.drop(rw, 1<<20)
			}
			return false
		}, "GET;GET bytes=1048576-;GET", ""},
		{"no ranges", func(rw nethttp.ResponseWriter, r *nethttp.Request, n int) bool {
			if n == 1 {
				w.drop(rw, 1<<20)
			}
			r.Header.Del("Range")
			return false
		}, "GET;GET bytes=1048576-", ""},
		{"wrong range", func(rw nethttp.ResponseWriter, r *nethttp.Request, n int) bool {
			switch n {
			case 1:
				w.drop(rw, 1<<20)
			case 2:
				r.Header.Set("Range", "bytes=5-")
			}
			return false
		}, "GET;GET bytes=1048576-;GET", ""},
		{"busy", func(rw nethttp.ResponseWriter, _ *nethttp.Request, n int) bool {
			if n < 4 {
				rw.Header().Set("Retry-After", "1")
				rw.WriteHeader(503)
			}
			return n < 4
		}, "GET;GET;GET;GET", ""},
		{"broken", func(rw nethttp.ResponseWriter, _ *nethttp.Request, n int) bool { rw.WriteHeader(500); return true },
			"GET;GET;GET;GET;GET", "the server answered 500 Internal Server Error"},
		{"forbidden", func(rw nethttp.ResponseWriter, _ *nethttp.Request, n int) bool { rw.WriteHeader(403); return true },
			"GET", "the server answered 403 Forbidden"},
		{"error page", func(rw nethttp.ResponseWriter, _ *nethttp.Request, n int) bool {
			_, _ = io.WriteString(rw, "<html><title>Sign in</title></html>")
			return true
		}, "GET", warehouse.ErrMismatch.Error()},
		{"truncates", func(rw nethttp.ResponseWriter, _ *nethttp.Request, n int) bool {
			_, _ = rw.Write(w.data[:1<<20])
			return true
		}, "GET", warehouse.ErrMismatch.Error()},
		{"redirects for ever", func(rw nethttp.ResponseWriter, r *nethttp.Request, n int) bool {
			nethttp.Redirect(rw, r, fmt.Sprintf("/%d", n), nethttp.StatusFound)
			return true
		}, strings.TrimSuffix(strings.Repeat("GET;", maxRedirects+1), ";"), "redirected more than 10 times"},
		{"redirects to a file", func(rw nethttp.ResponseWriter, r *nethttp.Request, n int) bool {
			rw.Header().Set("Location", "file://"+w.dir+w.path)
			rw.WriteHeader(nethttp.StatusFound)
			return true
		}, "GET", "which is not http"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.asked = nil
			n := 0
			s := w.serve(t, func(rw nethttp.ResponseWriter, r *nethttp.Request) {
				n++
				if !c.fault(rw, r, n) {
					w.give(rw, r, `"1"`)
				}
			})
			err := w.get(t, s.URL, Options{})
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), s.URL)) {
				t.Errorf("error %v, want %q of %s", err, c.want, s.URL)
			}
			asked := strings.Join(w.asked, ";")
			if c.name == "killed and changed" && asked+";GET" == c.asked {
				asked += ";GET" // nobody had begun to read when all of the other came
			}
			if asked != c.asked {
				t.Errorf("asked %s, want %s", asked, c.asked)
			}
		})
	}
}

// answering is a transport that asks nobody: what it answers comes from f.
type answering func(r *nethttp.Request) *nethttp.Response

func (f answering) RoundTrip(r *nethttp.Request) (*nethttp.Response, error) { return f(r), nil }

// silent says no more until ctx ends.
type silent struct{ ctx context.Context }

func (s silent) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

// TestStalls: a server that falls silent is not waited for, and what it gave before counts.
func TestStalls(t *testing.T) {
	w := newWorld(t)
	synctest.Test(t, func(t *testing.T) {
		transport := answering(func(r *nethttp.Request) *nethttp.Response {
			w.asked = append(w.asked, strings.TrimSpace(r.Method+" "+r.Header.Get("Range")))
			if len(w.asked) > 1 {
				rw := httptest.NewRecorder()
				w.give(rw, r, "")
				return rw.Result()
			}
			body := io.MultiReader(bytes.NewReader(w.data[:1<<20]), silent{r.Context()})
			return &nethttp.Response{Status: "200 OK", StatusCode: 200, Header: nethttp.Header{}, Body: io.NopCloser(body), ContentLength: int64(len(w.data)), Request: r}
		})
		begun := time.Now()
		must(t, w.get(t, "http://wares.test", Options{Transport: transport}))
		if !slices.Equal(w.asked, []string{"GET", "GET bytes=1048576-"}) || time.Since(begun) < time.Minute {
			t.Errorf("asked %q in %s", w.asked, time.Since(begun))
		}
	})
}

// TestCredentials are sent to the host they are for, over https or to this machine, and
// appear in no error.
func TestCredentials(t *testing.T) {
	w := newWorld(t)
	var told []string
	other := httptest.NewServer(nethttp.HandlerFunc(func(rw nethttp.ResponseWriter, r *nethttp.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("another host was told credentials")
		}
		w.give(rw, r, "")
	}))
	defer other.Close()
	private := w.serve(t, func(rw nethttp.ResponseWriter, r *nethttp.Request) {
		name, password, basic := r.BasicAuth()
		told = append(told, r.Header.Get("Authorization"))
		if !(basic && name == "me" && password == "s3cret") && r.Header.Get("Authorization") != "Bearer t0ken" {
			rw.WriteHeader(401)
			return
		}
		nethttp.Redirect(rw, r, other.URL+r.URL.Path, nethttp.StatusFound)
	})
	netrc := filepath.Join(t.TempDir(), "netrc")
	t.Setenv("NETRC", netrc)
	withUser := strings.Replace(private.URL, "//", "//me:s3cret@", 1)
	must(t, w.get(t, withUser, Options{}))
	must(t, w.get(t, private.URL, Options{Token: "t0ken"}))
	must(t, w.get(t, private.URL, Options{Username: "me", Password: "s3cret"}))
	for text, want := range map[string]bool{
		"machine other.example login me password s3cret": false,
		"machine 127.0.0.1 login me password wr0ng":      false,
		"machine 127.0.0.1 login me password s3cret":     true,
	} {
		must(t, os.WriteFile(netrc, []byte(text), 0o600))
		told = nil
		err := w.get(t, private.URL, Options{})
		if (err == nil) != want || told[0] != "" {
			t.Errorf("%s: %v, told %q", text, err, told)
		}
		if err != nil && (strings.Contains(err.Error(), "wr0ng") || !strings.Contains(err.Error(), "401 Unauthorized")) {
			t.Error(err)
		}
	}
	err := w.get(t, strings.Replace(private.URL, "//", "//me:wr0ng@", 1), Options{})
	if err == nil || strings.Contains(err.Error(), "wr0ng") || !strings.Contains(err.Error(), "does not take these credentials") {
		t.Errorf("a wrong password: %v", err)
	}
	must(t, os.Remove(netrc))
	if err := w.get(t, private.URL, Options{}); err == nil || !strings.Contains(err.Error(), "token_env") || !strings.Contains(err.Error(), "netrc") {
		t.Errorf("without credentials: %v", err)
	}
}

// TestCredentialsAtOnce asks for many wares before the server has said that it wants
// credentials: each question is asked again with them.
func TestCredentialsAtOnce(t *testing.T) {
	w := newWorld(t)
	netrc := filepath.Join(t.TempDir(), "netrc")
	must(t, os.WriteFile(netrc, []byte("default login me password s3cret"), 0o600))
	t.Setenv("NETRC", netrc)
	var first sync.WaitGroup
	first.Add(4)
	var n atomic.Int32
	s := w.serve(t, func(rw nethttp.ResponseWriter, r *nethttp.Request) {
		if n.Add(1) <= 4 {
			first.Done()
			first.Wait() // until four are asking
		}
		if _, password, _ := r.BasicAuth(); password != "s3cret" {
			rw.WriteHeader(401)
			return
		}
		w.give(rw, r, "")
	})
	has, err := openStore(t, s.URL).Has(t.Context(), slices.Repeat([]warehouse.WareID{w.rec.ID}, 40))
	if err != nil || slices.Contains(has, false) {
		t.Errorf("%v, %v", has, err)
	}
}

// TestPut: collections are made where the server wants that, a server that takes nothing
// is read-only, and one that only says that it has taken something too.
func TestPut(t *testing.T) {
	l := warehousetest.OpenLocal(t)
	rec := warehousetest.Small(t, l, "put")
	kept, dirs := map[string][]byte{}, map[string]bool{"/wares": true}
	dav := httptest.NewServer(nethttp.HandlerFunc(func(rw nethttp.ResponseWriter, r *nethttp.Request) {
		parent := filepath.Dir(strings.TrimSuffix(r.URL.Path, "/"))
		switch data, there := kept[r.URL.Path]; {
		case (r.Method == "PUT" || r.Method == "MKCOL") && !dirs[parent]:
			rw.WriteHeader(409)
		case r.Method == "MKCOL":
			dirs[strings.TrimSuffix(r.URL.Path, "/")] = true
		case r.Method == "PUT":
			kept[r.URL.Path], _ = io.ReadAll(r.Body)
		case !there:
			rw.WriteHeader(404)
		default:
			nethttp.ServeContent(rw, r, "", time.Time{}, bytes.NewReader(data))
		}
	}))
	defer dav.Close()
	s := openStore(t, dav.URL+"/wares")
	warehousetest.Put(t, s, l, rec)
	warehousetest.Get(t, s, rec)
	err := openStore(t, dav.URL+"/none").Put(t.Context(), rec, l, warehouse.Transfer{})
	if err == nil || len(dirs) != 3 {
		t.Errorf("where there is no warehouse: %v, %v", err, dirs)
	}
	for status, readOnly := range map[int]bool{200: true, 401: true, 403: true, 405: true, 501: true, 507: false} {
		refuses := httptest.NewServer(nethttp.HandlerFunc(func(rw nethttp.ResponseWriter, r *nethttp.Request) {
			if r.Method == "PUT" {
				rw.WriteHeader(status)
				return
			}
			rw.WriteHeader(404)
		}))
		err := openStore(t, refuses.URL).Put(t.Context(), rec, l, warehouse.Transfer{})
		if err == nil || is(err, 404) || errors.Is(err, warehouse.ErrReadOnly) != readOnly {
			t.Errorf("%d: %v", status, err)
		}
		refuses.Close()
	}
}
