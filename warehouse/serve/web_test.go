package serve

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

// TestRanges: parts of contents and of packed wares, and answers to those who have them
// already; of what was not handed in by this process too.
func TestRanges(t *testing.T) {
	dir := t.TempDir()
	data := noise(t, 2*pieceSize)
	d := remote.DigestOf(data)
	ware := "/abc/def/abcdefghijklm"
	t.Run("put", func(t *testing.T) {
		s := start(t, Options{Dir: dir})
		for path, want := range map[string]int{"/cas/" + d.Hash: 200, ware: 201} {
			if code, body := s.web(t, "PUT", path, "", data); code != want {
				t.Fatalf("PUT %s: %d %s", path, code, body)
			}
		}
	})
	s := start(t, Options{Dir: dir})
	tag := `"` + d.Hash + `"`
	for _, path := range []string{"/cas/" + d.Hash, ware} {
		for _, x := range []struct {
			method string
			header map[string]string
			code   int
			want   []byte
		}{
			{"HEAD", nil, 200, nil},
			{"GET", map[string]string{"Range": "bytes=10-19"}, 206, data[10:20]},
			{"GET", map[string]string{"Range": "bytes=-5"}, 206, data[len(data)-5:]},
			{"GET", map[string]string{"Range": fmt.Sprintf("bytes=%d-", len(data))}, 416, nil},
			{"GET", map[string]string{"Range": "bytes=5-", "If-Range": tag}, 206, data[5:]},
			{"GET", map[string]string{"Range": "bytes=5-", "If-Range": `"other"`}, 200, data},
			{"GET", map[string]string{"If-None-Match": tag}, 304, nil},
			{"GET", nil, 200, data},
		} {
			req, err := http.NewRequestWithContext(t.Context(), x.method, "http://"+s.addr+path, nil)
			must(t, err)
			for k, v := range x.header {
				req.Header.Set(k, v)
			}
			resp, err := http.DefaultClient.Do(req)
			must(t, err)
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.StatusCode != x.code || x.want != nil && string(got) != string(x.want) {
				t.Errorf("%s %s %v: %d, %d bytes, %v, want %d, %d", x.method, path, x.header, resp.StatusCode, len(got), err, x.code, len(x.want))
			}
			if x.code < 400 && resp.Header.Get("Etag") != tag {
				t.Errorf("%s %s %v: ETag %s", x.method, path, x.header, resp.Header.Get("Etag"))
			}
		}
	}
}

// TestPutAgain: what is there is handed in again by a client that reads no answer before it
// has sent all, as some do, and the connection stays.
func TestPutAgain(t *testing.T) {
	s := start(t, Options{})
	data := noise(t, 32<<20) // more than is on its way at once
	conn, err := net.Dial("tcp", s.addr)
	must(t, err)
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for range 3 {
		req, err := http.NewRequest(http.MethodPut, "http://"+s.addr+"/cas/"+remote.DigestOf(data).Hash, bytes.NewReader(data))
		must(t, err)
		must(t, req.Write(conn))
		resp, err := http.ReadResponse(answers, req)
		must(t, err)
		must(t, resp.Body.Close())
		if resp.StatusCode != http.StatusOK || resp.Close {
			t.Errorf("%s, the connection is closed: %v", resp.Status, resp.Close)
		}
	}
}

// TestMetrics: what Prometheus reads is well formed, and counts.
func TestMetrics(t *testing.T) {
	s := start(t, Options{})
	c := s.dial(t)
	putAll(t, c, []byte("one"), []byte("two"))
	s.web(t, "GET", "/cas/"+remote.DigestOf([]byte("one")).Hash, "", nil)
	s.web(t, "GET", "/cas/"+remote.DigestOf([]byte("none")).Hash, "", nil)
	s.web(t, "GET", "/any/thing/else%0A%22", "", nil)
	code, body := s.web(t, "GET", "/metrics", "", nil)
	if code != 200 {
		t.Fatal(code)
	}
	line := regexp.MustCompile(`^(# (HELP|TYPE) kiln_serve_[a-z_]+ .+|kiln_serve_[a-z_]+(\{[a-z]+="[^"\n]*"(,[a-z]+="[^"\n]*")*\})? [0-9.e+-]+)$`)
	for text := range strings.Lines(body) {
		if !line.MatchString(strings.TrimSuffix(text, "\n")) {
			t.Errorf("%q", text)
		}
	}
	for _, want := range []string{
		"kiln_serve_stored_files 2\n", "kiln_serve_stored_bytes 8192\n",
		`kiln_serve_requests_total{method="BatchUpdateBlobs",outcome="ok"} 2`,
		`kiln_serve_requests_total{method="GET cas",outcome="200"} 1`,
		`kiln_serve_requests_total{method="GET cas",outcome="404"} 1`,
		`kiln_serve_lookups_total{of="object",found="true"} 1`,
		`kiln_serve_sent_bytes_total{method="GET cas",outcome="200"} 3`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in\n%s", want, body)
		}
	}
}

func TestFront(t *testing.T) {
	s := start(t, Options{Version: "1.2.3"})
	code, body := s.web(t, "GET", "/", "", nil)
	if code != 200 || !strings.Contains(body, "kiln 1.2.3") || !strings.Contains(body, "grpc://"+s.addr) {
		t.Errorf("%d %s", code, body)
	}
}
