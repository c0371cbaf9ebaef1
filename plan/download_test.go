package plan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/internal/retry"
)

// testDownloader does not pause between tries; waits, if not nil, gets the pauses.
func testDownloader(t *testing.T, waits *[]time.Duration) *downloader {
	t.Helper()
	d := newDownloader(t.TempDir(), nil, 1<<20, retry.Policy{Pause: func(ctx context.Context, d time.Duration) error {
		if waits != nil {
			*waits = append(*waits, d)
		}
		return ctx.Err()
	}})
	return &d
}

// fetchAll returns what d gets, and checks that it leaves no file.
func (d *downloader) fetchAll(t *testing.T, rawURL, want string, progress func(done, total int64)) (data, name, sum string, err error) {
	t.Helper()
	err = d.get(t.Context(), rawURL, want, progress, func(dl *download) error {
		all, err := io.ReadAll(dl.file)
		data, name, sum = string(all), dl.name, dl.sha256
		return err
	})
	if left, _ := os.ReadDir(d.dir); len(left) != 0 {
		t.Errorf("%s: left %v", rawURL, left)
	}
	return data, name, sum, err
}

func hexSum(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestDownload(t *testing.T) {
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/moved/a.tgz":
			http.Redirect(w, r, "/a.tgz", http.StatusFound)
		case "/gzip":
			// Says that the bytes are compressed, as some servers do of .tar.gz files.
			w.Header().Set("Content-Encoding", "gzip")
			io.WriteString(w, "not really gzip")
		case "/chunked":
			io.WriteString(w, "chun")
			w.(http.Flusher).Flush()
			io.WriteString(w, "ked")
		default:
			io.WriteString(w, "hello")
		}
	})
	file := t.TempDir() + "/local file"
	if err := os.WriteFile(file, []byte("here"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ url, name, want string }{
		{base + "/a.tgz?x=1", "a.tgz", "hello"},
		{base + "/moved/a.tgz", "a.tgz", "hello"},
		{base, "file", "hello"},
		{base + "/a/..", "file", "hello"},
		{base + "/gzip", "gzip", "not really gzip"},
		{base + "/chunked", "chunked", "chunked"},
		{"file://" + strings.ReplaceAll(file, " ", "%20"), "local file", "here"},
	} {
		for _, sum := range []string{hexSum(tt.want), ""} {
			var last int64
			got, name, is, err := testDownloader(t, nil).fetchAll(t, tt.url, sum, func(done, _ int64) { last = done })
			if got != tt.want || err != nil || name != tt.name || is != hexSum(tt.want) || last != int64(len(tt.want)) {
				t.Errorf("%s: got %q named %s, %d bytes told, %v", tt.url, got, name, last, err)
			}
		}
	}
}

// TestDownloadFailures: each hostile or broken server ends in an error that says
// what happened, after as many tries as make sense, and leaves no file.
func TestDownloadFailures(t *testing.T) {
	for _, tt := range []struct {
		name  string
		serve http.HandlerFunc
		tries int32
		want  string
	}{
		{"missing", http.NotFound, 1, "the server answered 404 Not Found"},
		{"broken", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, 5, "500 Internal Server Error"},
		{"busy", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, 5, "429 Too Many Requests"},
		{"error page", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }, 1, "wanted is " + hexSum("hello")},
		{"partial", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(206); io.WriteString(w, "he") }, 1, "206 Partial Content"},
		{"dropped", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, "hel")
		}, 5, "after 3 bytes: unexpected EOF"},
		{"long, said", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "9000000000") }, 1, "9000000000 bytes are more than the limit of 1048576"},
		{"long, not said", func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}, 1, "more bytes than the limit of 1048576"},
		{"redirects for ever", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/again", http.StatusFound) }, 11, "redirected more than 10 times"},
		{"redirects to a file", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(302)
		}, 1, "redirected to file:///etc/passwd, which is not http"},
		{"reset", func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			c.(*net.TCPConn).SetLinger(0)
			c.Close()
		}, 5, "reset by peer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var tries atomic.Int32
			base := serve(t, func(w http.ResponseWriter, r *http.Request) { tries.Add(1); tt.serve(w, r) })
			_, _, _, err := testDownloader(t, nil).fetchAll(t, base+"/x", hexSum("hello"), nil)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "fetch "+base) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if errors.Is(err, ErrMismatch) != (tt.name == "error page") {
				t.Errorf("%v matches ErrMismatch: %t", err, errors.Is(err, ErrMismatch))
			}
			if tries.Load() != tt.tries {
				t.Errorf("%d requests, want %d", tries.Load(), tt.tries)
			}
		})
	}
}

// TestDownloadTriesAgain: a server that recovers is waited for, as long as it asks
// within reason, and what an earlier try brought is not mixed in.
func TestDownloadTriesAgain(t *testing.T) {
	var n atomic.Int32
	base := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		switch n.Add(1) {
		case 1:
			w.Header().Set("Content-Length", "100")
			io.WriteString(w, strings.Repeat("x", 50))
		case 2:
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(503)
		case 3:
			w.Header().Set("Retry-After", "86400")
			w.WriteHeader(429)
		default:
			io.WriteString(w, "hello")
		}
	})
	var waits []time.Duration
	got, _, sum, err := testDownloader(t, &waits).fetchAll(t, base, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got != "hello" || sum != hexSum("hello") {
		t.Error("the file is not what the last try gave")
	}
	if len(waits) != 3 || waits[0] <= 0 || waits[1] != 7*time.Second || waits[2] < 7*time.Second || waits[2] > time.Minute {
		t.Errorf("paused %v", waits)
	}
}

func TestDownloadRefusesDowngrade(t *testing.T) {
	plain := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })
	s := httptest.NewTLSServer(http.RedirectHandler(plain, http.StatusFound))
	defer s.Close()
	d := testDownloader(t, nil)
	d.transport = s.Client().Transport
	if _, _, _, err := d.fetchAll(t, s.URL, "", nil); err == nil || !strings.Contains(err.Error(), "from https to http") {
		t.Errorf("without sha256: %v", err)
	}
	if _, _, _, err := d.fetchAll(t, s.URL, hexSum("hello"), nil); err != nil {
		t.Fatalf("with sha256: %v", err)
	}
}

func TestDownloadCancelled(t *testing.T) {
	started := make(chan struct{})
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		close(started)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-started; cancel() }()
	d := testDownloader(t, nil)
	if err := d.get(ctx, base, "", nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(d.dir); len(left) != 0 {
		t.Errorf("left %v", left)
	}
}

func TestDownloadBadURLs(t *testing.T) {
	for rawURL, want := range map[string]string{
		"ftp://h/x":                    `scheme "ftp" is not supported`,
		"file://host/x":                "a file url has the form",
		"file:relative":                "a file url has the form",
		"file:///":                     "not a regular file",
		"file:///no/such":              "no such file",
		"://":                          "missing protocol scheme",
		"http://u:secret@127.0.0.1:1/": "fetch http://u@127.0.0.1:1/: ",
	} {
		err := testDownloader(t, nil).get(t.Context(), rawURL, "", nil, nil)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(fmt.Sprint(err), "secret") {
			t.Errorf("%s: %v, want %q", rawURL, err, want)
		}
	}
}

// TestDownloadResumes: what a connection that broke off has brought is not asked for
// again where the bytes are known, and never put together with another version.
func TestDownloadResumes(t *testing.T) {
	text := strings.Repeat("0123456789", 20_000)
	for _, tt := range []struct {
		name       string
		etag       bool
		sum        string
		wantRanges string
	}{
		{"etag", true, "", "bytes=100000-"},
		{"sha256", false, hexSum(text), "bytes=100000-"},
		{"neither", false, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var ranges []string
			first := true
			base := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if tt.etag {
					w.Header().Set("ETag", `"v1"`)
				}
				if r.Header.Get("Range") != "" {
					ranges = append(ranges, r.Header.Get("Range"))
				}
				if first {
					first = false
					w.Header().Set("Content-Length", fmt.Sprint(len(text)))
					io.WriteString(w, text[:100_000])
					return
				}
				http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
			})
			got, _, _, err := testDownloader(t, nil).fetchAll(t, base, tt.sum, nil)
			if err != nil || got != text || strings.Join(ranges, " ") != tt.wantRanges {
				t.Errorf("%d bytes, ranges %q, %v", len(got), ranges, err)
			}
		})
	}
}

// TestResolveOnce: of several that resolve a url at once, of which nothing is known, one
// asks for it, and the others use what it got, if it is what they want.
func TestResolveOnce(t *testing.T) {
	const kilns = 4
	var asked atomic.Int32
	var dir string // of parts
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 1 {
			waitOpen(t, dir, 2*kilns-1) // who waits for a lock has its file open twice
		}
		io.WriteString(w, "text")
	})
	pr := newProject(t, map[string]formula.Source{"ware.a": {Kind: formula.SourceURL, URL: base}})
	dir = pr.options.CacheDir + "/download"
	resolve := func(o ResolveOptions) {
		var all sync.WaitGroup
		for range kilns {
			all.Go(func() {
				p, diags := Resolve(t.Context(), pr.formula, o)
				if diags.HasErrors() {
					t.Error(diags)
				} else if e := p.sources.byAddr["ware.a"].entry; e.SHA256 != hexSum("text") || e.ID != p.Wares["ware.a"] || !pr.Warehouse.Has(e.ID) {
					t.Errorf("resolved to %+v", e)
				}
			})
		}
		all.Wait()
	}
	resolve(pr.options)
	if asked.Load() != 1 {
		t.Errorf("asked %d times", asked.Load())
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left %v", left)
	}

	// Who wants to know what it is now asks for itself.
	asked.Store(0)
	update := pr.options
	update.UpdateAll = true
	resolve(update)
	if asked.Load() != kilns {
		t.Errorf("asked %d times in updates", asked.Load())
	}
}

// waitOpen waits until this process has files below dir open n times.
func waitOpen(t *testing.T, dir string, n int) {
	for open := 0; open < n && t.Context().Err() == nil; time.Sleep(time.Millisecond) {
		open = 0
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Error(err)
			return
		}
		for _, fd := range fds {
			if path, _ := os.Readlink("/proc/self/fd/" + fd.Name()); strings.HasPrefix(path, dir+"/part-") {
				open++
			}
		}
	}
}

// TestFetchOnce: of several that fetch a ware at once, one asks for its url.
func TestFetchOnce(t *testing.T) {
	var asked atomic.Int32
	base := serve(t, func(w http.ResponseWriter, _ *http.Request) { asked.Add(1); io.WriteString(w, "text") })
	pr := newProject(t, map[string]formula.Source{"ware.a": {Kind: formula.SourceURL, URL: base}})
	p, _ := pr.resolve()
	if err := pr.Warehouse.Remove(p.Wares["ware.a"]); err != nil {
		t.Fatal(err)
	}
	asked.Store(0)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if diags := p.Fetch(t.Context(), []string{"ware.a"}); diags.HasErrors() {
				t.Error(diags)
			}
		})
	}
	all.Wait()
	if asked.Load() != 1 || !pr.Warehouse.Has(p.Wares["ware.a"]) {
		t.Errorf("asked %d times", asked.Load())
	}
}
