package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/internal/testenv"
	"github.com/kilnbuild/kiln/pack/oci/ocitest"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

// alone keeps docker's configuration out of a test.
func alone(t testing.TB) {
	t.Helper()
	t.Setenv("HOME", t.TempDir())
	t.Setenv("DOCKER_CONFIG", filepath.Join(t.TempDir(), "docker"))
	for _, name := range []string{"XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "REGISTRY_AUTH_FILE", "HTTP_PROXY", "http_proxy"} {
		t.Setenv(name, "")
	}
}

// quick is a policy that does not pause.
var quick = retry.Policy{Pause: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}

// start starts a real registry.
func start(t testing.TB, auth bool) (addr string) {
	t.Helper()
	_, addr = startAt(t, auth)
	return addr
}

// startAt starts one and tells where it keeps what it has.
func startAt(t testing.TB, auth bool) (dir, addr string) {
	t.Helper()
	alone(t)
	return startBeside(t, auth)
}

// startBeside is startAt in a test that may run beside others.
func startBeside(t testing.TB, auth bool) (dir, addr string) {
	t.Helper()
	testenv.Tool(t, "docker-registry", "apt-get install docker-registry")
	dir = t.TempDir()
	s, err := ocitest.Start(dir, auth)
	must(t, err)
	t.Cleanup(s.Kill)
	return dir, s.Addr
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// proxy is a server before a registry that does some of its requests itself: those
// for which do reports true.
func proxy(t testing.TB, addr string, do func(w http.ResponseWriter, r *http.Request) bool) string {
	t.Helper()
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: addr})
	behind.ErrorLog = log.New(io.Discard, "", 0)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !do(w, r) {
			behind.ServeHTTP(w, r) // with the client's Host, so that the registry's URLs lead back here
		}
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// refusing lets clients only read.
func refusing(t testing.TB, addr string) string {
	return proxy(t, addr, func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`)
		return true
	})
}

func open(t testing.TB, url string, o Options) *Repository {
	t.Helper()
	o.Retry = quick
	r, err := Open(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r.(*Repository)
}

const ware = "tree:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef-85"

// zstd makes n bytes that begin as zstd's do.
func zstd(n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(data)
	copy(data, "\x28\xb5\x2f\xfd")
	return data
}

func put(t testing.TB, o packed.Objects, name string, data []byte) {
	t.Helper()
	if err := o.Put(t.Context(), name, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
}

func TestObjects(t *testing.T) {
	r := open(t, "oci://"+start(t, false)+"/team/wares", Options{})
	if _, err := r.Stat(t.Context(), ware); !errors.Is(err, warehouse.ErrMissing) {
		t.Errorf("Stat before the repository is there: %v", err)
	}
	data := zstd(5 << 20)
	put(t, r, ware, data)
	if _, err := r.Open(t.Context(), ware[:len(ware)-1], 0, ""); !errors.Is(err, warehouse.ErrMissing) {
		t.Errorf("Open of another: %v", err)
	}
	info, err := r.Stat(t.Context(), ware)
	if err != nil || info.Size != int64(len(data)) || !strings.HasPrefix(info.Version, "sha256:") {
		t.Errorf("Stat: %+v, %v", info, err)
	}
	if got, obj := warehousetest.Read(t, r, ware, 0, ""); !bytes.Equal(got, data) || obj.Info != info || obj.Offset != 0 {
		t.Errorf("Open: %d bytes, %+v", len(got), obj.Info)
	}
	if got, obj := warehousetest.Read(t, r, ware, 70_000, info.Version); !bytes.Equal(got, data[70_000:]) || obj.Info != info || obj.Offset != 70_000 {
		t.Errorf("from the middle: %d bytes from %d, %+v", len(got), obj.Offset, obj.Info)
	}
	for _, from := range []struct {
		offset  int64
		version string
	}{{70_000, "sha256:other"}, {5 << 20, info.Version}, {6 << 20, ""}} {
		if got, obj := warehousetest.Read(t, r, ware, from.offset, from.version); !bytes.Equal(got, data) || obj.Offset != 0 {
			t.Errorf("from %v: %d bytes from %d", from, len(got), obj.Offset)
		}
	}
	const memo = "memo:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, text := range []string{"{}", `{"a":1}`, "{}"} {
		put(t, r, memo, []byte(text))
		if got, _ := warehousetest.Read(t, r, memo, 0, ""); string(got) != text {
			t.Errorf("the memo is %q, want %q", got, text)
		}
	}
}

// TestArtifact has skopeo read what kiln wrote.
func TestArtifact(t *testing.T) {
	addr := start(t, false)
	r := open(t, "oci://"+addr+"/team/wares", Options{})
	data := zstd(100_000)
	put(t, r, ware, data)
	image := "docker://" + addr + "/team/wares:" + strings.ReplaceAll(ware, ":", "-")
	raw := ocitest.Run(t, "skopeo", "inspect", "--raw", "--tls-verify=false", image)
	var m v1.Manifest
	if err := json.Unmarshal([]byte(raw), &m); err != nil {
		t.Fatalf("%v in %s", err, raw)
	}
	if m.ArtifactType != wareType || m.MediaType != v1.MediaTypeImageManifest || m.Config.MediaType != v1.MediaTypeEmptyJSON ||
		m.Annotations[nameAnnotation] != ware || len(m.Layers) != 1 || m.Layers[0].MediaType != "application/vnd.kiln.ware.v1.tar+zstd" {
		t.Errorf("the manifest is %s", raw)
	}
	dir := t.TempDir()
	ocitest.Run(t, "skopeo", "copy", "-q", "--src-tls-verify=false", image, "dir:"+dir)
	if got, err := os.ReadFile(filepath.Join(dir, m.Layers[0].Digest.Encoded())); err != nil || !bytes.Equal(got, data) {
		t.Errorf("skopeo copied %d bytes, %v", len(got), err)
	}
}
