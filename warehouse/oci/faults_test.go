package oci

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/kilnbuild/kiln/pack/oci/ocitest"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

// served opens a repository of a server that is a function. It is not asked what every
// registry is at first.
func served(t *testing.T, o Options, f http.HandlerFunc) *Repository {
	t.Helper()
	alone(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" {
			f(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return open(t, "oci://"+server.Listener.Addr().String()+"/team/wares", o)
}

// TestErrors checks what people are told of answers, and what callers can tell.
func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		status      int
		read, write error // that the errors match
		reading     string
		writing     string
	}{
		{401, nil, warehouse.ErrReadOnly, "not for everybody: log in with docker login", "log in with docker login"},
		{403, nil, warehouse.ErrReadOnly, "not for everybody: log in with docker login", "log in with docker login"},
		{404, warehouse.ErrMissing, nil, "tag tree-0123", "make the repository"},
		{405, nil, warehouse.ErrReadOnly, "405", "takes nothing now"},
		{503, nil, nil, "503", "503"},
		{429, nil, nil, "429", "429"},
	} {
		r := served(t, Options{}, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(tt.status)
			io.WriteString(w, `{"errors":[{"code":"CODE","message":"so it is"}]}`)
		})
		_, readErr := r.Stat(t.Context(), ware)
		writeErr := r.Put(t.Context(), ware, strings.NewReader("x"), 1)
		if readErr == nil || writeErr == nil || !strings.Contains(readErr.Error(), tt.reading) || !strings.Contains(writeErr.Error(), tt.writing) ||
			!strings.Contains(writeErr.Error(), "repository team/wares") {
			t.Errorf("%d: %v, and %v", tt.status, readErr, writeErr)
		}
		for _, sentinel := range []error{warehouse.ErrMissing, warehouse.ErrReadOnly} {
			if errors.Is(readErr, sentinel) != (tt.read == sentinel) || errors.Is(writeErr, sentinel) != (tt.write == sentinel) {
				t.Errorf("%d: %v, and %v: wrong about %v", tt.status, readErr, writeErr, sentinel)
			}
		}
	}
	r := open(t, "oci://127.0.0.1:1/team/wares", Options{})
	if err := r.Put(t.Context(), "tree:"+strings.Repeat("0", 124), strings.NewReader("x"), 1); err == nil || !strings.Contains(err.Error(), "at most 128") {
		t.Errorf("a tag that is too long: %v", err)
	}
	if _, err := r.Stat(t.Context(), ware); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody is there: %v", err)
	}
}

func TestURL(t *testing.T) {
	alone(t)
	for raw, want := range map[string]string{
		"oci://registry.example/team/wares": "oci://registry.example/team/wares",
		"oci+http://registry.example/wares": "oci+http://registry.example/wares",
		"oci://127.0.0.1:5000/a/b/":         "oci://127.0.0.1:5000/a/b",
	} {
		if r := open(t, raw, Options{}); r.String() != want {
			t.Errorf("%s is %s", raw, r)
		}
	}
	for raw, want := range map[string]string{
		"oci://registry.example":               "oci://REGISTRY/REPOSITORY",
		"oci://kiln:sesame@registry.example/x": "docker login",
		"oci://registry.example/UPPER":         "repository",
		"oci://registry.example/x?a=b":         "oci://REGISTRY/REPOSITORY",
		"oci://registry.example/x:tag":         "repository",
	} {
		if _, err := Open(t.Context(), raw, Options{}); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: %v, want %s", raw, err, want)
		}
	}
}

// schemes fails requests and notes how they would have been made.
type schemes map[string]bool

func (s schemes) RoundTrip(r *http.Request) (*http.Response, error) {
	s[r.URL.Scheme] = true
	return nil, errors.New("nobody is there")
}

func TestPlain(t *testing.T) {
	alone(t)
	for url, plain := range map[string]bool{"oci://registry.example/x": false, "oci+http://registry.example/x": true} {
		s := schemes{}
		if _, err := open(t, url, Options{Transport: s}).Stat(t.Context(), ware); err == nil || s["http"] != plain || !s["https"] {
			t.Errorf("%s: %v by %v", url, err, s)
		}
	}
}

// TestElsewhere has a registry lead to other hosts: credentials do not follow.
func TestElsewhere(t *testing.T) {
	addr := start(t, true)
	data := zstd(100_000)
	put(t, open(t, "oci://"+addr+"/team/wares", Options{Username: ocitest.User, Password: ocitest.Password}), ware, data)
	var followed atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		followed.Add(1)
		if r.Header.Get("Authorization") != "" {
			t.Errorf("credentials followed to %s %s", r.Method, r.URL)
		}
		if r.Method == http.MethodGet {
			w.Write(data)
			return
		}
		w.WriteHeader(http.StatusForbidden)
	}))
	defer other.Close()
	elsewhere := "http://" + strings.Replace(other.Listener.Addr().String(), "127.0.0.1", "localhost", 1)
	before := proxy(t, addr, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.Header.Get("Authorization") == "":
		case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/"):
			http.Redirect(w, r, elsewhere+"/blob?signature=mellon", http.StatusTemporaryRedirect)
			return true
		case r.Method == http.MethodPost:
			w.Header().Set("Location", elsewhere+"/upload?signature=mellon")
			w.WriteHeader(http.StatusAccepted)
			return true
		}
		return false
	})
	r := open(t, "oci://"+before+"/team/wares", Options{Username: ocitest.User, Password: ocitest.Password})
	if got, _ := warehousetest.Read(t, r, ware, 0, ""); !bytes.Equal(got, data) || followed.Load() != 1 {
		t.Errorf("read %d bytes after %d requests there", len(got), followed.Load())
	}
	err := r.Put(t.Context(), ware, bytes.NewReader(zstd(10)), 10)
	if err == nil || followed.Load() < 2 || strings.Contains(err.Error(), "mellon") || strings.Contains(err.Error(), ocitest.Password) {
		t.Errorf("an upload that is led elsewhere: %v after %d requests there", err, followed.Load())
	}
}

// TestBlobGone has a registry lose sight of a blob that a manifest names.
func TestBlobGone(t *testing.T) {
	addr := start(t, false)
	for name, gone := range map[string]int32{"once": 1, "for good": 100} {
		var asked atomic.Int32
		before := proxy(t, addr, func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "/manifests/") || asked.Add(1) > gone {
				return false
			}
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"errors":[{"code":"DIGEST_INVALID"},{"code":"MANIFEST_BLOB_UNKNOWN","message":"blob unknown"}]}`)
			return true
		})
		r := open(t, "oci://"+before+"/gone/wares", Options{})
		data := zstd(1000)
		err := r.Put(t.Context(), ware, bytes.NewReader(data), int64(len(data)))
		if gone > 1 {
			if err == nil || asked.Load() != 5 || strings.Count(err.Error(), "blob unknown") != 1 || !strings.Contains(err.Error(), "repository gone/wares, tag tree-0123") {
				t.Errorf("%s: %v after %d requests", name, err, asked.Load())
			}
			continue
		}
		must(t, err)
		if got, _ := warehousetest.Read(t, r, ware, 0, ""); !bytes.Equal(got, data) {
			t.Errorf("%s: read %d bytes", name, len(got))
		}
	}
}

// TestLogin finds credentials where docker keeps them, and in its helpers.
func TestLogin(t *testing.T) {
	addr := start(t, true)
	dir := os.Getenv("DOCKER_CONFIG")
	must(t, os.MkdirAll(dir, 0o755))
	use := func(format string, args ...any) {
		must(t, os.WriteFile(filepath.Join(dir, "config.json"), fmt.Appendf(nil, format, args...), 0o600))
	}
	stat := func() error {
		_, err := open(t, "oci://"+addr+"/team/wares", Options{}).Stat(t.Context(), ware)
		return err
	}
	if err := stat(); err == nil || errors.Is(err, warehouse.ErrMissing) || !strings.Contains(err.Error(), "docker login "+addr) {
		t.Errorf("without: %v", err)
	}
	use(`{"auths":{%q:{"auth":%q}}}`, addr, base64.StdEncoding.EncodeToString([]byte(ocitest.User+":"+ocitest.Password)))
	if err := stat(); !errors.Is(err, warehouse.ErrMissing) {
		t.Errorf("of docker's configuration: %v", err)
	}
	helper := fmt.Sprintf("#!/bin/sh\nprintf '{\"Username\":\"%s\",\"Secret\":\"%s\"}'\n", ocitest.User, ocitest.Password)
	must(t, os.WriteFile(filepath.Join(dir, "docker-credential-kilntest"), []byte(helper), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	use(`{"credHelpers":{%q:"kilntest"}}`, addr)
	if err := stat(); !errors.Is(err, warehouse.ErrMissing) {
		t.Errorf("of a helper: %v", err)
	}
	// A helper that waits for somebody is not waited for.
	must(t, os.WriteFile(filepath.Join(dir, "docker-credential-kilntest"), []byte("#!/bin/sh\n>"+dir+"/waits\nwhile [ -e "+dir+"/waits ]; do sleep 0.1; done\n"), 0o755))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := open(t, "oci://"+addr+"/team/wares", Options{}).Stat(ctx, ware)
		ended <- err
	}()
	for {
		if _, err := os.Stat(dir + "/waits"); err == nil {
			break
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("a helper that waits: %v", err)
	}
}

// TestToken has a registry that gives everybody a token which is good for reading.
func TestToken(t *testing.T) {
	addr := start(t, false)
	put(t, open(t, "oci://"+addr+"/team/wares", Options{}), ware, zstd(100))
	var before string
	before = proxy(t, addr, func(w http.ResponseWriter, r *http.Request) bool {
		read := r.Method == http.MethodGet || r.Method == http.MethodHead
		switch {
		case r.URL.Path == "/token":
			io.WriteString(w, `{"token":"reader","expires_in":300}`)
			return true
		case r.Header.Get("Authorization") == "Bearer reader" && read:
			return false
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test",scope="repository:team/wares:pull,push"`, before))
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	r := open(t, "oci://"+before+"/team/wares", Options{})
	if got, _ := warehousetest.Read(t, r, ware, 0, ""); len(got) != 100 {
		t.Errorf("read %d bytes", len(got))
	}
	if err := r.Put(t.Context(), ware, strings.NewReader("other"), 5); !errors.Is(err, warehouse.ErrReadOnly) {
		t.Errorf("a put: %v", err)
	}
}

// TestWrongBlobs has a registry give other bytes than its manifest says.
func TestWrongBlobs(t *testing.T) {
	addr := start(t, false)
	data := zstd(1000)
	put(t, open(t, "oci://"+addr+"/team/wares", Options{}), ware, data)
	other := bytes.Clone(data)
	other[500]++
	for name, tt := range map[string]struct {
		answer func(w http.ResponseWriter)
		want   string
	}{
		"other bytes": {func(w http.ResponseWriter) { w.Write(other) }, "bytes with the digest sha256:"},
		"less":        {func(w http.ResponseWriter) { w.Write(data[:999]) }, "gives 999 bytes"},
		"more":        {func(w http.ResponseWriter) { w.Write(append(bytes.Clone(data), 'x')) }, "gives 1001 bytes"},
		"more, unsaid": {func(w http.ResponseWriter) {
			w.(http.Flusher).Flush()
			w.Write(append(bytes.Clone(data), 'x'))
		}, "more than the 1000 bytes"},
		"less, unsaid": {func(w http.ResponseWriter) {
			w.(http.Flusher).Flush()
			w.Write(data[:999])
		}, "unexpected EOF"},
		"an error page": {func(w http.ResponseWriter) { io.WriteString(w, "<html>") }, "gives 6 bytes"},
		"cut off": {func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "1000")
			w.Write(data[:500])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, "unexpected EOF"},
	} {
		before := proxy(t, addr, func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/blobs/") {
				tt.answer(w)
				return true
			}
			return false
		})
		o, err := open(t, "oci://"+before+"/team/wares", Options{}).Open(t.Context(), ware, 0, "")
		if err == nil {
			_, err = io.ReadAll(o)
			o.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, warehouse.ErrMismatch) == strings.Contains(tt.want, "EOF") {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	for name, text := range map[string]string{
		"no manifest":      "<html>",
		"somebody's image": `{"schemaVersion":2,"layers":[{}]}`,
		"another ware":     `{"artifactType":"` + wareType + `","layers":[{}],"annotations":{"` + nameAnnotation + `":"tree:other"}}`,
		"no digest":        `{"artifactType":"` + wareType + `","layers":[{"digest":"sha256:../../x"}],"annotations":{"` + nameAnnotation + `":"` + ware + `"}}`,
		"too large":        strings.Repeat(" ", maxManifest+1),
	} {
		r := served(t, Options{}, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
		if _, err := r.Stat(t.Context(), ware); err == nil || errors.Is(err, warehouse.ErrMissing) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUploadBreaks has uploads break off in all their phases, once each.
func TestUploadBreaks(t *testing.T) {
	addr := start(t, false)
	broken := map[string]bool{}
	before := proxy(t, addr, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodDelete || broken[r.Method] {
			return false
		}
		broken[r.Method] = true
		switch r.Method {
		case http.MethodPatch:
			io.CopyN(io.Discard, r.Body, 1<<20)
			panic(http.ErrAbortHandler)
		case http.MethodPut:
			w.WriteHeader(http.StatusNotFound) // as if it had been started again
		default:
			w.WriteHeader(http.StatusBadGateway)
		}
		return true
	})
	r := open(t, "oci://"+before+"/team/wares", Options{})
	data := zstd(8 << 20)
	put(t, r, ware, data)
	if got, _ := warehousetest.Read(t, r, ware, 0, ""); !bytes.Equal(got, data) || !broken[http.MethodPatch] || !broken[http.MethodPut] || !broken[http.MethodPost] {
		t.Errorf("read %d bytes; broken were %v", len(got), broken)
	}
}

// cancelling cancels when something is read behind at for the second time: the first is
// for the digest.
type cancelling struct {
	io.ReaderAt
	at     int64
	times  atomic.Int64
	cancel func()
}

func (c *cancelling) ReadAt(p []byte, off int64) (int, error) {
	if off <= c.at && off+int64(len(p)) > c.at && c.times.Add(1) == 2 {
		c.cancel()
	}
	return c.ReaderAt.ReadAt(p, off)
}

func TestCancelled(t *testing.T) {
	dir, addr := startAt(t, false)
	r := open(t, "oci://"+addr+"/team/wares", Options{})
	ctx, cancel := context.WithCancel(t.Context())
	body := &cancelling{ReaderAt: bytes.NewReader(zstd(8 << 20)), at: 4 << 20, cancel: cancel}
	if err := r.Put(ctx, ware, body, 8<<20); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := r.Stat(t.Context(), ware); !errors.Is(err, warehouse.ErrMissing) {
		t.Errorf("a part is visible: %v", err)
	}
	if blobs, _ := filepath.Glob(filepath.Join(dir, kept, "blobs/sha256/*/*")); len(blobs) > 0 {
		t.Errorf("blobs are there: %v", blobs)
	}
}

// TestNoRanges reads from the middle where the registry cannot.
func TestNoRanges(t *testing.T) {
	addr := start(t, false)
	data := zstd(1000)
	put(t, open(t, "oci://"+addr+"/team/wares", Options{}), ware, data)
	for name, span := range map[string]string{"ignored": "", "another part": "bytes 3-999/1000", "not satisfied": "416"} {
		before := proxy(t, addr, func(w http.ResponseWriter, r *http.Request) bool {
			asked := r.Header.Get("Range") != ""
			r.Header.Del("Range")
			if !asked || span == "" {
				return false
			}
			w.Header().Set("Content-Range", span)
			if span == "416" {
				w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
				return true
			}
			w.WriteHeader(http.StatusPartialContent)
			w.Write(data[3:])
			return true
		})
		if got, o := warehousetest.Read(t, open(t, "oci://"+before+"/team/wares", Options{}), ware, 500, ""); !bytes.Equal(got, data) || o.Offset != 0 {
			t.Errorf("%s: %d bytes from %d", name, len(got), o.Offset)
		}
	}
}
