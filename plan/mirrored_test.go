package plan

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack/oci/ocitest"
	"github.com/kilnbuild/kiln/warehouse"
)

// someMirrors are by prefix, and by ware id.
type someMirrors map[string][]string

func (m someMirrors) OfWare(id warehouse.WareID) []string { return m[id.String()] }
func (m someMirrors) OfModule(module string) []string     { return m[module] }

func (m someMirrors) OfURL(url string) (urls []string) {
	for prefix, bases := range m {
		if rest, ok := strings.CutPrefix(url, prefix); ok {
			for _, base := range bases {
				urls = append(urls, base+rest)
			}
		}
	}
	return urls
}

// lastWarning returns the one warning of diags, which must hold nothing else.
func lastWarning(t *testing.T, diags hcl.Diagnostics) string {
	t.Helper()
	if len(diags) != 1 || diags[0].Severity != hcl.DiagWarning {
		t.Fatalf("got %v, want one warning", diags)
	}
	return diags[0].Detail
}

func TestMirrorURL(t *testing.T) {
	var own, good atomic.Int32
	origin := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		own.Add(1)
		io.WriteString(w, "right")
	})
	liar := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<h1>Sorry</h1>") })
	none := serve(t, http.NotFound)
	mirror := serve(t, func(w http.ResponseWriter, r *http.Request) {
		good.Add(1)
		if r.URL.Path != "/copy/file" {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, "right")
	})
	pr := newProject(t, map[string]formula.Source{"ware.a": {Kind: formula.SourceURL, URL: origin + "/pub/file"}})
	pr.quick()
	pr.options.Mirrors = someMirrors{origin + "/pub/": {liar + "/", none + "/", mirror + "/copy/"}}

	// Nobody knows yet what the bytes are: no mirror is believed.
	p, _ := pr.resolve()
	id := p.Wares["ware.a"]
	if own.Load() != 1 || good.Load() != 0 {
		t.Fatalf("asked its own server %d times, the mirror %d times", own.Load(), good.Load())
	}

	// The lock file knows. The one that lies is named, the next ones are asked.
	must(t, pr.Warehouse.Remove(id))
	p, _ = pr.resolve()
	told := lastWarning(t, p.Fetch(t.Context(), []string{"ware.a"}))
	if !strings.Contains(told, liar) || strings.Contains(told, none) || own.Load() != 1 || good.Load() != 1 || !pr.Warehouse.Exists(id) {
		t.Errorf("told %q; asked its own server %d times, the mirror %d times", told, own.Load(), good.Load())
	}

	// A sha256 in the formula is as good, without a lock file.
	must(t, errors.Join(pr.Warehouse.Remove(id), os.Remove(filepath.Join(pr.dir, LockName))))
	pr.formula.Wares[0].Source.SHA256 = strings.ToUpper(hexSum("right"))
	p, diags := Resolve(t.Context(), pr.formula, pr.options)
	if told := lastWarning(t, diags); !strings.Contains(told, liar) || own.Load() != 1 || p.Wares["ware.a"] != id {
		t.Errorf("told %q, %v; asked its own server %d times", told, p.Wares, own.Load())
	}

	// All fail: each is listed. The mirror's lie does not make it a mismatch.
	pr.options.Mirrors = someMirrors{origin + "/pub/": {liar + "/", none + "/m/"}}
	pr.formula.Wares[0].Source.SHA256 = hexSum("right")
	pr.formula.Wares[0].Source.URL = strings.Replace(origin, "http://", "http://me:secret@", 1) + "/pub/file"
	pr.options.Mirrors = someMirrors{pr.formula.Wares[0].Source.URL[:len(pr.formula.Wares[0].Source.URL)-4]: {
		strings.Replace(liar, "http://", "http://you:secret@", 1) + "/", none + "/m/"}}
	pr.options.Offline = true
	diags = pr.fail()
	text := errText(diags)
	if !errors.Is(Cause(diags), ErrUnavailable) || strings.Contains(text, "secret") ||
		!strings.Contains(text, none+"/m/") || strings.Count(text, "--offline forbids") != 3 {
		t.Errorf("offline: %v", text)
	}
	pr.options.Offline = false
	pr.formula.Wares[0].Source.URL = none + "/gone"
	pr.options.Mirrors = someMirrors{none + "/gone": {liar + "/", none + "/m/"}}
	diags = pr.fail()
	text = errText(diags)
	if cause := Cause(diags); !errors.Is(cause, ErrUnavailable) || errors.Is(cause, ErrMismatch) ||
		!strings.Contains(text, liar) || !strings.Contains(text, none+"/m/") || !strings.Contains(text, none+"/gone") {
		t.Errorf("all fail: %v", text)
	}
}

// TestMirrorBreaksOff: the next place is asked for what the one before has not given, and
// a wrong beginning costs no more than fetching all.
func TestMirrorBreaksOff(t *testing.T) {
	text := strings.Repeat("0123456789", 20_000)
	var ranges []string
	origin := serve(t, func(w http.ResponseWriter, r *http.Request) {
		ranges = append(ranges, r.Header.Get("Range"))
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text))
	})
	for _, tt := range []struct{ begins, want string }{
		{text[:100_000], "bytes=100000-"},
		{strings.Repeat("x", 100_000), "bytes=100000- "},
	} {
		mirror := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				http.NotFound(w, r) // it is gone
				return
			}
			w.Header().Set("Content-Length", strconv.Itoa(len(text)))
			io.WriteString(w, tt.begins)
		})
		ranges = nil
		pr := newProject(t, map[string]formula.Source{"ware.a": {Kind: formula.SourceURL, URL: origin + "/a", SHA256: hexSum(text)}})
		pr.quick()
		pr.options.Mirrors = someMirrors{origin + "/": {mirror + "/"}}
		if p, _ := pr.resolve(); !pr.Warehouse.Exists(p.Wares["ware.a"]) || strings.Join(ranges, " ") != tt.want {
			t.Errorf("%.3s…: asked for %q", tt.begins, ranges)
		}
	}
}

// TestMirrorName: what a mirror calls an archive does not matter.
func TestMirrorName(t *testing.T) {
	origin := serve(t, http.NotFound)
	mirror := serve(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "text") })
	pr := newProject(t, map[string]formula.Source{"ware.a": {Kind: formula.SourceURL, URL: origin + "/notes", SHA256: hexSum("text")}})
	pr.options.Mirrors = someMirrors{origin + "/notes": {mirror + "/notes.tar.gz"}}
	if p, _ := pr.resolve(); !pr.Warehouse.Exists(p.Wares["ware.a"]) {
		t.Errorf("wares %v", p.Wares)
	}
}

// TestMirrorWare: a url's ware is had from a mirror of it where its server is gone.
func TestMirrorWare(t *testing.T) {
	var text atomic.Value
	text.Store("one")
	base, _ := content(t, &text)
	pr := newProject(t, map[string]formula.Source{"ware.a": {Kind: formula.SourceURL, URL: base + "/file"}})
	pr.quick()
	p, _ := pr.resolve()
	id := p.Wares["ware.a"]
	must(t, pr.Warehouse.Remove(id))
	text.Store("two")
	nowhere := t.TempDir()
	pr.options.Mirrors = someMirrors{id.String(): {"ca+file://" + nowhere}}
	p, _ = pr.resolve()
	diags := p.Fetch(t.Context(), []string{"ware.a"})
	if told := errText(diags); !errors.Is(Cause(diags), ErrMismatch) || !strings.Contains(told, nowhere) {
		t.Errorf("got %v", told)
	}
}

func TestMirrorGit(t *testing.T) {
	pr := newProject(t, nil)
	root := filepath.Join(pr.world.dir, "srv")
	git := gitRepo(t, filepath.Join(root, "up"), map[string]string{"file": "one"})
	commit := strings.TrimSpace(git("rev-parse", "HEAD"))
	origin, mirror := gitServer(t, root), gitServer(t, root)
	none := serve(t, http.NotFound)
	dead := httptest.NewServer(http.NotFoundHandler())
	dead.Close()
	for _, at := range []string{mirror + "/up", "file://" + root + "/up"} {
		pr.formula.Wares = []*formula.Ware{{Addr: "ware.a", Dir: pr.dir, Source: formula.Source{Kind: formula.SourceGit, Git: dead.URL + "/up", Ref: commit}}}
		pr.options.CacheDir = t.TempDir()
		pr.quick()
		pr.options.Mirrors = someMirrors{dead.URL + "/up": {none + "/", at}}
		p, _ := pr.resolve()
		if diags := p.Fetch(t.Context(), []string{"ware.a"}); diags.HasErrors() {
			t.Fatalf("%s: %v", at, diags)
		}
		if id := p.Wares["ware.a"]; pr.listed(id) != "file" {
			t.Errorf("%s: %s", at, pr.listed(id))
		} else if err := pr.Warehouse.Remove(id); err != nil {
			t.Fatal(err)
		}
	}
	// A branch is for its own repository to say.
	pr.formula.Wares[0].Source.Ref = "HEAD"
	if text := errText(pr.fail()); strings.Contains(text, mirror) || strings.Contains(text, none) {
		t.Errorf("asked a mirror for a branch: %v", text)
	}
	pr.formula.Wares[0].Source.Git = origin + "/up"
	pr.options.Mirrors = someMirrors{origin + "/up": {none}}
	pr.resolve()
}

func TestMirrorRegistry(t *testing.T) {
	addr := startRegistry(t, false)
	l := ocitest.NewLayout(t)
	l.Tag("v1", l.Image("linux/amd64", nil, ocitest.Layer("file f text"), ocitest.Layer("file g text")))
	push(t, l, "v1", addr+"/copy/a/b:v1")
	push(t, l, "v1", addr+"/a/b:v1")
	var blobs atomic.Int32
	origin := front(t, addr, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") || strings.Contains(r.URL.Path, "sha256:") {
			blobs.Add(1)
		}
		return false
	})
	liar := front(t, addr, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/blobs/") {
			io.WriteString(w, "<h1>Sorry</h1>")
		}
		return strings.Contains(r.URL.Path, "/blobs/")
	})
	pr, _ := imageProject(t, origin+"/a/b:v1", "linux/amd64")
	pr.quick()
	pr.options.Mirrors = someMirrors{"oci://" + origin + "/": {"oci://" + liar + "/", "oci://" + addr + "/copy/"}}
	p, diags := Resolve(t.Context(), pr.formula, pr.options)
	if told := lastWarning(t, diags); !strings.Contains(told, liar) || blobs.Load() != 0 {
		t.Errorf("told %s; asked the registry itself %d times for what has a digest", told, blobs.Load())
	}
	if id := p.Wares["ware.i"]; pr.listed(id) != "f g" {
		t.Errorf("holds %s", pr.listed(id))
	}
}
