package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/s3/s3test"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

const urlFor = "ca+s3://wares/p?endpoint=%s"

// served opens a bucket of a server that is a function.
func served(t *testing.T, o Options, f http.HandlerFunc) *Bucket {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return open(t, fmt.Sprintf(urlFor, server.URL), o)
}

func secret() Options { return Options{AccessKey: "AKIA", SecretKey: "sesame", Token: "mellon"} }

func fail(w http.ResponseWriter, status int, code, more string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\"?>\n<Error><Code>%s</Code><Message>so it is</Message>%s<StringToSign>sesame</StringToSign></Error>", code, more)
}

// TestErrors checks what people are told of answers, and what callers can tell.
func TestErrors(t *testing.T) {
	alone(t)
	for _, tt := range []struct {
		status      int
		code        string
		read, write error  // that the errors match
		want        string // of reading
	}{
		{404, "NoSuchKey", warehouse.ErrMissing, nil, "key p/012/345/"},
		{404, "NoSuchBucket", nil, nil, "make the bucket"},
		{403, "AccessDenied", nil, warehouse.ErrReadOnly, "s3:ListBucket"},
		{405, "MethodNotAllowed", nil, warehouse.ErrReadOnly, "405"},
		{403, "SignatureDoesNotMatch", nil, nil, "secret key is not that"},
		{403, "InvalidAccessKeyId", nil, nil, "does not know the access key"},
		{400, "ExpiredToken", nil, nil, "log in again"},
		{403, "RequestTimeTooSkewed", nil, nil, "set the clock"},
		{301, "PermanentRedirect", nil, nil, "?region="},
		{503, "SlowDown", nil, nil, "SlowDown"},
	} {
		tries := 0
		b := served(t, secret(), func(w http.ResponseWriter, r *http.Request) {
			tries++
			fail(w, tt.status, tt.code, "")
		})
		_, readErr := b.Open(t.Context(), ware, 0, "")
		if want := map[bool]int{true: 5, false: 1}[tt.status >= 500]; tries != want {
			t.Errorf("%s: tried %d times, want %d", tt.code, tries, want)
		}
		writeErr := b.Put(t.Context(), ware, strings.NewReader("x"), 1)
		if readErr == nil || writeErr == nil || !strings.Contains(readErr.Error(), tt.want) || !strings.Contains(readErr.Error(), "bucket wares") {
			t.Errorf("%s: %v, want %s", tt.code, readErr, tt.want)
		}
		for _, sentinel := range []error{warehouse.ErrMissing, warehouse.ErrReadOnly} {
			if errors.Is(readErr, sentinel) != (tt.read == sentinel) || errors.Is(writeErr, sentinel) != (tt.write == sentinel) {
				t.Errorf("%s: %v, and %v: wrong about %v", tt.code, readErr, writeErr, sentinel)
			}
		}
		for _, err := range []error{readErr, writeErr} {
			if text := err.Error(); strings.Contains(text, "sesame") || strings.Contains(text, "AKIA") || strings.Contains(text, "mellon") {
				t.Errorf("a secret is in %s", text)
			}
		}
	}
	// Who is nobody is told that what is forbidden may be missing.
	b := served(t, Options{}, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("nobody's request is signed")
		}
		fail(w, 403, "AccessDenied", "")
	})
	if _, err := b.Open(t.Context(), ware, 0, ""); !errors.Is(err, warehouse.ErrMissing) || !strings.Contains(err.Error(), "not for everybody") {
		t.Errorf("anonymous: %v", err)
	}
}

func TestNoBucket(t *testing.T) {
	alone(t)
	s := s3test.Start(t)
	b := open(t, strings.Replace(s.URL(""), s3test.Bucket, "other", 1), known())
	_, openErr := b.Open(t.Context(), ware, 0, "")
	_, statErr := b.Stat(t.Context(), ware)
	for _, err := range []error{openErr, statErr, b.Put(t.Context(), ware, strings.NewReader("x"), 1)} {
		if err == nil || errors.Is(err, warehouse.ErrMissing) || !strings.Contains(err.Error(), "make the bucket") {
			t.Errorf("no bucket: %v", err)
		}
	}
}

// TestLearn has servers that say how they want to be asked.
func TestLearn(t *testing.T) {
	alone(t)
	asked := 0
	b := served(t, secret(), func(w http.ResponseWriter, r *http.Request) {
		if asked++; !strings.Contains(r.Header.Get("Authorization"), "/eu-north-1/s3/") {
			fail(w, 400, "AuthorizationHeaderMalformed", "<Region>eu-north-1</Region>")
			return
		}
		io.WriteString(w, "hello")
	})
	for want := 2; want < 4; want++ {
		if got, _ := warehousetest.Read(t, b, ware, 0, ""); string(got) != "hello" || asked != want {
			t.Errorf("another region: %q after %d requests", got, asked)
		}
	}
	asked = 0
	tomorrow := time.Now().Add(24 * time.Hour)
	b = served(t, secret(), func(w http.ResponseWriter, r *http.Request) {
		asked++
		at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if err != nil || at.Sub(tomorrow).Abs() > 15*time.Minute {
			w.Header().Set("Date", tomorrow.UTC().Format(http.TimeFormat))
			fail(w, 403, "RequestTimeTooSkewed", "")
			return
		}
		io.WriteString(w, "hello")
	})
	if got, _ := warehousetest.Read(t, b, ware, 0, ""); string(got) != "hello" || asked != 2 {
		t.Errorf("another clock: %q after %d requests", got, asked)
	}
}

// TestRedirect has a server lead elsewhere: what is read is, without credentials.
func TestRedirect(t *testing.T) {
	alone(t)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for key := range r.Header {
			if key == "Authorization" || strings.HasPrefix(key, "X-Amz-") {
				t.Errorf("%s followed", key)
			}
		}
		io.WriteString(w, "hello")
	}))
	defer other.Close()
	b := served(t, secret(), func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL+"/there?signature=sesame", http.StatusTemporaryRedirect)
	})
	if got, _ := warehousetest.Read(t, b, ware, 0, ""); string(got) != "hello" {
		t.Errorf("read %q", got)
	}
	if err := b.Put(t.Context(), ware, strings.NewReader("x"), 1); err == nil || strings.Contains(err.Error(), "sesame") {
		t.Errorf("a put that is led elsewhere: %v", err)
	}
	for _, to := range []string{"file:///etc/passwd", "/again"} {
		b := served(t, secret(), func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) })
		if _, err := b.Open(t.Context(), ware, 0, ""); err == nil || !strings.Contains(err.Error(), "redirected") {
			t.Errorf("redirected to %s: %v", to, err)
		}
	}
}

// TestWrongAnswers has servers give other bytes than they say.
func TestWrongAnswers(t *testing.T) {
	alone(t)
	for name, answer := range map[string]func(w http.ResponseWriter){
		"too short": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "hello")
		},
		"cut off": func(w http.ResponseWriter) {
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "hello")
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		},
	} {
		b := served(t, secret(), func(w http.ResponseWriter, r *http.Request) { answer(w) })
		o, err := b.Open(t.Context(), ware, 0, "")
		if err != nil {
			t.Fatal(err)
		}
		if data, err := io.ReadAll(o); err == nil || o.Size != 10 {
			t.Errorf("%s: read %q of %d bytes without an error", name, data, o.Size)
		}
		o.Close()
	}
	// Parts that nobody asked for: everything is read instead.
	for name, span := range map[string]string{"another": "bytes 3-4/5", "not said": "", "of another version": "bytes 2-4/5"} {
		b := served(t, secret(), func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				w.Header().Set("Content-Range", span)
				w.Header().Set("Etag", `"new"`)
				w.WriteHeader(http.StatusPartialContent)
				io.WriteString(w, "lo")
				return
			}
			io.WriteString(w, "hello")
		})
		if got, o := warehousetest.Read(t, b, ware, 2, `"old"`); string(got) != "hello" || o.Offset != 0 {
			t.Errorf("%s: %q from %d", name, got, o.Offset)
		}
	}
}

// hooked calls hook once, when something is read from behind at.
type hooked struct {
	io.ReaderAt
	at   int64
	once sync.Once
	hook func()
}

func (h *hooked) ReadAt(p []byte, off int64) (int, error) {
	if off > h.at {
		h.once.Do(h.hook)
	}
	return h.ReaderAt.ReadAt(p, off)
}

// TestCancelled cancels an upload in the middle: nothing of it stays.
func TestCancelled(t *testing.T) {
	alone(t)
	s := s3test.Start(t)
	o := known()
	o.PartSize, o.Parallel = 5<<20, 2
	b := open(t, s.URL(""), o)
	ctx, cancel := context.WithCancel(t.Context())
	body := &hooked{ReaderAt: bytes.NewReader(random(30 << 20)), at: 16 << 20, hook: func() {
		if !strings.Contains(uploads(t, b), "<UploadId>") {
			t.Error("no upload is under way")
		}
		cancel()
	}}
	if err := b.Put(ctx, ware, body, 30<<20); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if left := uploads(t, b); strings.Contains(left, "<UploadId>") {
		t.Errorf("uploads are left: %s", left)
	}
	if _, err := b.Stat(t.Context(), ware); !errors.Is(err, warehouse.ErrMissing) {
		t.Errorf("a part is visible: %v", err)
	}
}

// through opens a bucket of a real server with a proxy before it, which does some of its
// requests itself: those for which do reports true.
func through(t *testing.T, s *s3test.Server, o Options, do func(w http.ResponseWriter, r *http.Request) bool) *Bucket {
	t.Helper()
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.Addr})
	behind.ErrorLog = log.New(io.Discard, "", 0)
	return served(t, o, func(w http.ResponseWriter, r *http.Request) {
		if !do(w, r) {
			behind.ServeHTTP(w, r)
		}
	})
}

// roundTrip is a transport.
type roundTrip func(r *http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestPartAfterFailure has a server that has received a part, and takes its time to put it
// into place, refuse another: the upload is not removed before the first one is there.
func TestPartAfterFailure(t *testing.T) {
	alone(t)
	synctest.Test(t, func(t *testing.T) {
		o := secret()
		o.PartSize, o.Parallel = 5<<20, 2
		var mu sync.Mutex
		var done []string
		o.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.Body != nil {
				io.Copy(io.Discard, r.Body)
			}
			w, part := httptest.NewRecorder(), r.URL.Query().Get("partNumber")
			switch {
			case part == "1":
				select {
				case <-r.Context().Done(): // the server does not care
				case <-time.After(10 * time.Second):
				}
			case part == "2":
				fail(w, 403, "AccessDenied", "")
			case r.Method == http.MethodPost:
				io.WriteString(w, "<X><UploadId>1</UploadId></X>")
			case slices.Contains(done, "DELETE"):
				fail(w, 404, "NoSuchUpload", "")
			}
			mu.Lock()
			defer mu.Unlock()
			done = append(done, r.Method+part)
			return w.Result(), r.Context().Err()
		})
		b := open(t, fmt.Sprintf(urlFor, "http://s3.test"), o)
		begun := time.Now()
		if err := b.Put(t.Context(), ware, bytes.NewReader(random(10<<20)), 10<<20); !errors.Is(err, warehouse.ErrReadOnly) {
			t.Errorf("a part is refused: %v", err)
		}
		if want := []string{"POST", "PUT2", "PUT1", "DELETE", "DELETE"}; !slices.Equal(done, want) || time.Since(begun) != 10*time.Second {
			t.Errorf("%v after %s, want %v", done, time.Since(begun), want)
		}
	})
}

// TestPartFails refuses a part, and loses answers.
func TestPartFails(t *testing.T) {
	alone(t)
	s := s3test.Start(t)
	o := known()
	o.PartSize = 5 << 20
	data := random(12 << 20)
	b := through(t, s, o, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("partNumber") != "3" {
			return false
		}
		fail(w, 403, "AccessDenied", "")
		return true
	})
	if err := b.Put(t.Context(), ware, bytes.NewReader(data), int64(len(data))); !errors.Is(err, warehouse.ErrReadOnly) {
		t.Errorf("a part is refused: %v", err)
	}
	if left := uploads(t, b); strings.Contains(left, "<UploadId>") {
		t.Errorf("uploads are left: %s", left)
	}

	// Every answer but the first is lost once: of parts, and of the end.
	lost := map[string]bool{}
	var mu sync.Mutex
	b = through(t, s, o, func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		what := r.Method + r.URL.Query().Get("partNumber")
		if r.URL.Query().Has("uploads") || r.Method == http.MethodGet || lost[what] {
			return false
		}
		lost[what] = true
		behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: s.Addr})
		behind.ServeHTTP(httptest.NewRecorder(), r)
		panic(http.ErrAbortHandler)
	})
	if err := b.Put(t.Context(), ware, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Errorf("every answer was lost once: %v", err)
	}
	if got, _ := warehousetest.Read(t, b, ware, 0, ""); !bytes.Equal(got, data) {
		t.Errorf("read %d bytes", len(got))
	}

	// It finds out that it cannot after it has said that all is well.
	tries := 0
	b = through(t, s, o, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPost || r.URL.Query().Has("uploads") {
			return false
		}
		if tries++; tries == 2 {
			return false
		}
		io.WriteString(w, "<?xml version=\"1.0\"?>   <Error><Code>InternalError</Code></Error>")
		return true
	})
	if err := b.Put(t.Context(), ware, bytes.NewReader(data), int64(len(data))); err != nil || tries != 2 {
		t.Errorf("late errors: %v after %d tries", err, tries)
	}
}

// TestKilled kills the server in the middle of transfers, and starts it again.
func TestKilled(t *testing.T) {
	alone(t)
	s := s3test.Start(t)
	o := known()
	o.PartSize = 5 << 20
	b := open(t, s.URL(""), o)
	b.o.Retry = retry.Policy{Tries: 1000, Max: time.Second} // until it is there again
	data := random(23 << 20)
	kill := func() { s.Kill(); s.Restart(t) }
	if err := b.Put(t.Context(), ware, &hooked{ReaderAt: bytes.NewReader(data), at: 12 << 20, hook: kill}, int64(len(data))); err != nil {
		t.Fatal(err)
	}
	obj, err := b.Open(t.Context(), ware, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	begin := make([]byte, 1<<20)
	if _, err := io.ReadFull(obj, begin); err != nil {
		t.Fatal(err)
	}
	kill()
	rest, err := io.ReadAll(obj)
	if err == nil {
		t.Error("the end of a killed server's answer is no error")
	}
	obj.Close()
	begin = append(begin, rest...)
	rest, obj = warehousetest.Read(t, b, ware, int64(len(begin)), obj.Version)
	if obj.Offset != int64(len(begin)) || !bytes.Equal(append(begin, rest...), data) {
		t.Errorf("resumed at %d of %d, wanted %d", obj.Offset, obj.Size, len(begin))
	}
	if !strings.Contains(b.String(), s.Addr) {
		t.Error(b.String())
	}
}
