package plan

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/internal/loopback"
	"github.com/kilnbuild/kiln/internal/testenv"
	"github.com/kilnbuild/kiln/pack/oci"
	"github.com/kilnbuild/kiln/pack/oci/ocitest"
)

// startRegistry starts a real registry, without credentials in the environment.
func startRegistry(t *testing.T, auth bool) string {
	t.Helper()
	testenv.Tool(t, "docker-registry", "apt-get install docker-registry")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("DOCKER_CONFIG", filepath.Join(t.TempDir(), "docker"))
	t.Setenv("XDG_RUNTIME_DIR", "")
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("REGISTRY_AUTH_FILE", "")
	s, err := ocitest.Start(t.TempDir(), auth)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s.Addr
}

func push(t *testing.T, l *ocitest.Layout, tag, to string) {
	t.Helper()
	ocitest.Run(t, "skopeo", "copy", "-q", "--all", "--preserve-digests", "--dest-tls-verify=false",
		"--dest-creds", ocitest.User+":"+ocitest.Password, "oci:"+l.Dir+":"+tag, "docker://"+to)
}

// image is a formula with one image, whose requests are counted by path.
func imageProject(t *testing.T, ref, platform string) (*project, *counting) {
	pr := newProject(t, map[string]formula.Source{"ware.i": {Kind: formula.SourceOCI, OCI: ref, Platform: platform}})
	c := &counting{paths: map[string]int{}}
	pr.options.HTTPClient = &http.Client{Transport: c}
	return pr, c
}

// quick lets the project's downloads not pause.
func (pr *project) quick() {
	pr.options.pause = func(context.Context, time.Duration) error { return nil }
}

type counting struct {
	mu    sync.Mutex
	paths map[string]int // what comes behind /v2/
}

func (c *counting) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, path, _ := strings.Cut(r.URL.Path, "/v2/")
	if r.URL.Scheme == "http" {
		c.paths[path]++
	}
	return http.DefaultTransport.RoundTrip(r)
}

// blobs counts the blobs that were asked for since the last call.
func (c *counting) blobs() (n int) {
	for path, times := range c.paths {
		if strings.Contains(path, "/blobs/") {
			n += times
		}
	}
	clear(c.paths)
	return n
}

func TestRegistry(t *testing.T) {
	addr := startRegistry(t, false)
	l := ocitest.NewLayout(t)
	base := ocitest.Layer("dir bin", "file bin/sh@4755 sh", "char dev/null")
	amd := l.Image("linux/amd64", nil, base, ocitest.Layer("file arch amd64"))
	arm := l.Image("linux/arm64", nil, base, ocitest.Layer("file arch arm64"))
	multi := l.Multi(arm, amd)
	l.Tag("v1", multi)
	push(t, l, "v1", addr+"/a/b:v1")

	pr, c := imageProject(t, addr+"/a/b:v1", "linux/amd64")
	p, changes := pr.resolve()
	id := p.Wares["ware.i"]
	if len(changes) != 1 || c.blobs() != 3 {
		t.Errorf("locked %v", changes)
	}
	want := fmt.Sprintf("  oci      = %q\n  platform = \"linux/amd64\"\n  digest   = %q\n  manifest = %q\n  id       = %q\n",
		addr+"/a/b:v1", multi.Digest, amd.Digest, id)
	if !strings.Contains(pr.lockText(), want) {
		t.Errorf("locked\n%s\nwant\n%s", pr.lockText(), want)
	}
	rec, err := pr.Warehouse.Get((&oci.Image{Digest: amd.Digest}).WareID())
	if err != nil || rec.Tree != id || rec.Image.Platform != "linux/amd64" {
		t.Errorf("its own id: %+v, %v", rec, err)
	}
	if data, err := os.ReadFile(pr.Warehouse.Fileset(rec) + "/arch"); string(data) != "amd64" || err != nil {
		t.Errorf("holds %q, %v", data, err)
	}

	// What is locked is asked for by nobody. When the ware is gone it is fetched by
	// its digest, out of the cache.
	p, changes = pr.resolve()
	if len(changes) != 0 || len(c.paths) != 0 || p.Wares["ware.i"] != id {
		t.Errorf("again: %v, asked %v", changes, c.paths)
	}
	if err := errors.Join(pr.Warehouse.Remove(id)); err != nil {
		t.Fatal(err)
	}
	pr.options.Offline = true
	p, _ = pr.resolve()
	if diags := p.Fetch(t.Context(), []string{"ware.i"}); diags.HasErrors() || !pr.Warehouse.Has(id) {
		t.Error(diags)
	}
	pr.options.Offline = false

	// Another platform of the same index is asked for by digest, though the tag has moved.
	next := l.Image("linux/amd64", nil, base, ocitest.Layer("file arch newer"))
	l.Tag("v2", next)
	push(t, l, "v2", addr+"/a/b:v1")
	pr.formula.Wares[0].Source.Platform = "linux/arm64"
	pr.resolve()
	if c.paths["a/b/manifests/v1"] != 0 || !strings.Contains(pr.lockText(), `"`+arm.Digest.String()+`"`) || c.blobs() != 2 {
		t.Errorf("another platform: asked %v, locked\n%s", c.paths, pr.lockText())
	}
	pr.formula.Wares[0].Source.Platform = "linux/amd64"
	if p, _ = pr.resolve(); p.Wares["ware.i"] != id || c.blobs() != 0 {
		t.Errorf("and back: %s", p.Wares["ware.i"])
	}

	// An update asks for the tag, and fetches what is new.
	pr.options.UpdateAll = true
	p, changes = pr.resolve()
	if len(changes) != 1 || c.paths["a/b/manifests/v1"] != 1 || c.blobs() != 2 || p.Wares["ware.i"] == id || strings.Contains(pr.lockText(), "manifest =") {
		t.Errorf("updated %v, locked\n%s", changes, pr.lockText())
	}

	// A digest is not moved by an update.
	pr, c = imageProject(t, addr+"/a/b:whatever@"+amd.Digest.String(), "linux/amd64")
	pr.options.UpdateAll = true
	if p, _ = pr.resolve(); p.Wares["ware.i"] != id {
		t.Errorf("by digest: %s", p.Wares["ware.i"])
	}
	clear(c.paths)
	if pr.resolve(); len(c.paths) != 0 {
		t.Errorf("by digest, again: asked %v", c.paths)
	}
}

// TestRegistryDamagedCache has blobs that a power cut left short or wrong.
func TestRegistryDamagedCache(t *testing.T) {
	addr := startRegistry(t, false)
	l := ocitest.NewLayout(t)
	d := l.Image("linux/amd64", nil, ocitest.Layer("file a "+strings.Repeat("a", 100_000)), ocitest.Layer("file b b"))
	l.Tag("t", d)
	push(t, l, "t", addr+"/x:t")
	pr, c := imageProject(t, addr+"/x:t", "linux/amd64")
	p, _ := pr.resolve()
	c.blobs()
	for _, damage := range []func(path string) error{
		func(path string) error { return os.Truncate(path, 10) },
		func(path string) error { return os.WriteFile(path, nil, 0o600) },
		os.Remove,
		func(path string) error { // as large as before
			info, err := os.Stat(path)
			if err == nil {
				err = errors.Join(os.Truncate(path, 0), os.Truncate(path, info.Size()))
			}
			return err
		},
	} {
		files, err := filepath.Glob(pr.options.CacheDir + "/image/*")
		if len(files) != 4 || err != nil {
			t.Fatal(files, err)
		}
		for _, path := range files {
			if err := damage(path); err != nil {
				t.Fatal(err)
			}
		}
		if err := pr.Warehouse.Remove(p.Wares["ware.i"]); err != nil {
			t.Fatal(err)
		}
		if diags := p.Fetch(t.Context(), []string{"ware.i"}); diags.HasErrors() {
			t.Error(diags)
		}
		if n := c.blobs(); n != 3 {
			t.Errorf("fetched %d blobs", n)
		}
	}
}

// TestRegistryTwice has two kilns with one cache.
func TestRegistryTwice(t *testing.T) {
	addr := startRegistry(t, false)
	l := ocitest.NewLayout(t)
	l.Tag("t", l.Image("linux/amd64", nil, ocitest.Layer("file a "+strings.Repeat("a", 1<<20)), ocitest.Layer("file b b")))
	push(t, l, "t", addr+"/x:t")
	pr, _ := imageProject(t, addr+"/x:t", "linux/amd64")
	pr.options.Progress = nil
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			p, diags := Resolve(t.Context(), pr.formula, pr.options)
			if diags.HasErrors() || !pr.Warehouse.Has(p.Wares["ware.i"]) {
				t.Error(diags)
			}
		})
	}
	wg.Wait()
	if left, err := filepath.Glob(pr.options.CacheDir + "/download/*"); len(left) > 0 || err != nil {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestRegistryCredentials(t *testing.T) {
	addr := startRegistry(t, true)
	l := ocitest.NewLayout(t)
	l.Tag("t", l.Image("linux/amd64", nil, ocitest.Layer("file a a")))
	push(t, l, "t", addr+"/x:t")
	config := func(text string, args ...any) {
		dir := os.Getenv("DOCKER_CONFIG")
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(dir+"/config.json", fmt.Appendf(nil, text, args...), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	try := func(name, want string) {
		t.Helper()
		pr, _ := imageProject(t, addr+"/x:t", "linux/amd64")
		if want == "" {
			pr.resolve()
			return
		}
		diags := pr.fail()
		text := diags[0].Detail
		if !strings.Contains(text, want) || !strings.Contains(text, addr) || !errors.Is(Cause(diags), ErrUnavailable) {
			t.Errorf("%s: %s", name, text)
		}
		if strings.Contains(text, "sesame") || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("kiln:sesame2"))) {
			t.Errorf("%s: credentials in %s", name, text)
		}
	}
	try("none", "log in with docker login "+addr)
	config(`{"auths": {%q: {"auth": %q}}}`, addr, base64.StdEncoding.EncodeToString([]byte("kiln:sesame2")))
	try("wrong", "401 Unauthorized")
	config(`{"auths": {%q: {"auth": %q}}}`, addr, base64.StdEncoding.EncodeToString([]byte(ocitest.User+":"+ocitest.Password)))
	try("right", "")
	config(`{"credHelpers": {%q: "kilntest"}}`, addr)
	try("no helper", "credentials of docker's configuration")
	bin := t.TempDir()
	helper := fmt.Sprintf("#!/bin/sh\nread registry\ntest \"$1 $registry\" = 'get %s' || exit 1\n", addr) +
		fmt.Sprintf("echo '{\"ServerURL\": \"x\", \"Username\": %q, \"Secret\": %q}'\n", ocitest.User, ocitest.Password)
	if err := os.WriteFile(bin+"/docker-credential-kilntest", []byte(helper), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	try("helper", "")
	config(`{"auths": `)
	try("broken", "credentials of docker's configuration")
}

func TestRegistryMissing(t *testing.T) {
	addr := startRegistry(t, false)
	l := ocitest.NewLayout(t)
	l.Tag("t", l.Image("linux/amd64", nil, ocitest.Layer("file a a")))
	push(t, l, "t", addr+"/x:t")
	for ref, want := range map[string]string{
		addr + "/x:other": "registry " + addr + ", repository x, tag other: the registry answered 404 Not Found",
		addr + "/y:t":     "there is no such tag or repository",
		addr + "/x@sha256:" + strings.Repeat("0", 64): "digest sha256:0000",
		"127.0.0.1:1/x:t":                               "registry 127.0.0.1:1, repository x, tag t: ",
		"oci-layout:" + l.Dir + ":nix":                  `the layout has no tag "nix"; it has t`,
		"docker-archive:" + l.Dir + "/index.json":       "docker archive",
		"docker-archive:" + l.Dir + "/nowhere":          "no such file",
		"oci-layout:" + l.Dir + "@sha256:" + sixtyFour:  "has no blob",
		"oci-layout:" + l.Dir + "/blobs":                "is no OCI layout: it has no file oci-layout",
		"docker-archive:" + l.Dir + "/oci-layout:a:b":   "docker archive",
		"oci-layout:" + filepath.Dir(l.Dir) + "/gone:t": "no such file",
	} {
		pr, _ := imageProject(t, ref, "linux/amd64")
		pr.options.HTTPClient = nil
		pr.quick()
		diags := pr.fail()
		if len(diags) != 1 || !strings.Contains(diags[0].Detail, want) || diags[0].Subject == nil {
			t.Errorf("%s: %v", ref, diags)
		}
	}
	pr, _ := imageProject(t, addr+"/x:t", "linux/amd64")
	pr.options.Offline = true
	if diags := pr.fail(); !strings.Contains(diags[0].Detail, "--offline forbids") || !errors.Is(Cause(diags), ErrUnavailable) {
		t.Error(diags)
	}
	pr.options.Offline = false
	pr.formula.Wares[0].Source.Platform = "linux/s390x"
	if diags := pr.fail(); !strings.Contains(diags[0].Detail, "it is for linux/amd64 and not for linux/s390x") {
		t.Error(diags)
	}
}

var sixtyFour = strings.Repeat("0", 64)

// A front is a server before a real registry, which change may answer for.
func front(t *testing.T, addr string, change func(http.ResponseWriter, *http.Request) bool) string {
	t.Helper()
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	proxy.ErrorLog = log.New(io.Discard, "", 0)
	return strings.TrimPrefix(serve(t, func(w http.ResponseWriter, r *http.Request) {
		if !change(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}), "http://")
}

func TestRegistryTrouble(t *testing.T) {
	addr := startRegistry(t, false)
	l := ocitest.NewLayout(t)
	img := l.Image("linux/amd64", nil, ocitest.Layer("file a "+strings.Repeat("a", 100)), ocitest.Layer("file b b"))
	l.Tag("t", img)
	push(t, l, "t", addr+"/x:t")
	elsewhere := front(t, addr, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") != "" {
			t.Error("credentials went elsewhere")
		}
		return false
	})
	isBlob := func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/blobs/") }
	var n atomic.Int32
	for _, test := range []struct {
		name   string
		change func(http.ResponseWriter, *http.Request) bool
		want   string // part of the error; "" for none
		kind   error
	}{
		{"busy at first", func(w http.ResponseWriter, r *http.Request) bool {
			if n.Add(1)%2 == 1 {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader([]int{503, 429, 500}[n.Load()/2%3])
				return true
			}
			return false
		}, "", nil},
		{"cut short at first", func(w http.ResponseWriter, r *http.Request) bool {
			if isBlob(r) && n.Add(1) <= 3 {
				w.Header().Set("Content-Length", "50")
				w.Write([]byte("short"))
				return true
			}
			return false
		}, "", nil},
		{"redirects", func(w http.ResponseWriter, r *http.Request) bool {
			if isBlob(r) {
				http.Redirect(w, r, "http://"+elsewhere+r.URL.Path, http.StatusTemporaryRedirect)
				return true
			}
			return false
		}, "", nil},
		{"redirects without end", func(w http.ResponseWriter, r *http.Request) bool {
			if isBlob(r) {
				http.Redirect(w, r, r.URL.Path, http.StatusTemporaryRedirect)
				return true
			}
			return false
		}, "redirected more than 10 times", ErrUnavailable},
		{"other bytes", func(w http.ResponseWriter, r *http.Request) bool {
			if isBlob(r) {
				w.Write([]byte("other"))
				return true
			}
			return false
		}, "the bytes have sha256", ErrMismatch},
		{"another manifest for a digest", func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, "/manifests/t") {
				w.Write([]byte(`{"schemaVersion": 2, "manifests": [{"digest": "sha256:` + sixtyFour + `", "size": 2, "mediaType": "` + v1.MediaTypeImageManifest + `"}]}`))
				return true
			}
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.Write([]byte(`{}`))
				return true
			}
			return false
		}, "the bytes have sha256", ErrMismatch},
		{"a huge manifest", func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.Write(make([]byte, maxImageManifest+1))
				return true
			}
			return false
		}, "the limit of 8388608", ErrUnavailable},
		{"a page", func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.Write([]byte("<html>"))
				return true
			}
			return false
		}, "cannot be read as JSON", nil},
		{"denied, with escapes", func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/manifests/") {
				w.WriteHeader(http.StatusForbidden)
				w.Write([]byte(`{"errors": [{"code": "DENIED", "message": "\u001b[31mno"}]}`))
				return true
			}
			return false
		}, `403 Forbidden ("DENIED: \x1b[31mno"); if it exists`, ErrUnavailable},
		{"unknown handshake", func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("WWW-Authenticate", "Odd realm=x")
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}, "the registry answered 401 Unauthorized", ErrUnavailable},
	} {
		t.Run(test.name, func(t *testing.T) {
			n.Store(0)
			pr, _ := imageProject(t, front(t, addr, test.change)+"/x:t", "linux/amd64")
			pr.quick()
			if test.want == "" {
				pr.resolve()
				return
			}
			diags := pr.fail()
			if !strings.Contains(diags[0].Detail, test.want) || test.kind != nil && !errors.Is(Cause(diags), test.kind) {
				t.Errorf("got %v", diags)
			}
			if recs, err := pr.Warehouse.List(t.Context()); len(recs) != 0 || err != nil {
				t.Errorf("left %v, %v", recs, err)
			}
		})
	}
}

// TestRegistryBearer has a registry that wants a token from a server of its own.
func TestRegistryBearer(t *testing.T) {
	addr := startRegistry(t, false)
	l := ocitest.NewLayout(t)
	l.Tag("t", l.Image("linux/amd64", nil, ocitest.Layer("file a a")))
	push(t, l, "t", addr+"/x:t")
	tokens := serve(t, func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if user != ocitest.User || password != ocitest.Password || r.FormValue("scope") != "repository:x:pull" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"token": "open"}`)
	})
	tokens = strings.Replace(tokens, "127.0.0.1", "localhost", 1) // go-containerregistry wants no address here
	host := front(t, addr, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") == "Bearer open" {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+tokens+`/token",service="test",scope="repository:x:pull"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	pr, _ := imageProject(t, host+"/x:t", "linux/amd64")
	pr.quick()
	if diags := pr.fail(); !strings.Contains(diags[0].Detail, "log in with docker login "+host) {
		t.Error(diags)
	}
	dir := os.Getenv("DOCKER_CONFIG")
	text := fmt.Sprintf(`{"auths": {%q: {"username": %q, "password": %q}}}`, host, ocitest.User, ocitest.Password)
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(dir+"/config.json", []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	pr.resolve()
}

func TestPlainGuard(t *testing.T) {
	for host, want := range map[string]bool{"localhost:1": true, "127.0.0.1:1": true, "[::1]:1": true, "127.1.2.3": true, "10.0.0.1:5000": false, "example.local": false, "localhost.example.org": false} {
		if loopback.Is(host) != want {
			t.Errorf("%s: want %t", host, want)
		}
		g := &plainGuard{registry: host, next: http.NewFileTransport(http.Dir(t.TempDir()))}
		req, err := http.NewRequest(http.MethodGet, "http://"+host+"/v2/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.RoundTrip(req); (err == nil) != want {
			t.Errorf("%s: %v", host, err)
		}
	}
}
