package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
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
	alone(t)
	testenv.Tool(t, "docker-registry", "apt-get install docker-registry")
	addr, stop, err := ocitest.Start(t.TempDir(), auth)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return addr
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

func read(t testing.TB, o packed.Objects, name string, offset int64, version string) ([]byte, *packed.Object) {
	t.Helper()
	obj, err := o.Open(t.Context(), name, offset, version)
	if err != nil {
		t.Fatal(err)
	}
	defer obj.Close()
	data, err := io.ReadAll(obj)
	if err != nil {
		t.Fatal(err)
	}
	return data, obj
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
	if got, obj := read(t, r, ware, 0, ""); !bytes.Equal(got, data) || obj.Info != info || obj.Offset != 0 {
		t.Errorf("Open: %d bytes, %+v", len(got), obj.Info)
	}
	if got, obj := read(t, r, ware, 70_000, info.Version); !bytes.Equal(got, data[70_000:]) || obj.Info != info || obj.Offset != 70_000 {
		t.Errorf("from the middle: %d bytes from %d, %+v", len(got), obj.Offset, obj.Info)
	}
	for _, from := range []struct {
		offset  int64
		version string
	}{{70_000, "sha256:other"}, {5 << 20, info.Version}, {6 << 20, ""}} {
		if got, obj := read(t, r, ware, from.offset, from.version); !bytes.Equal(got, data) || obj.Offset != 0 {
			t.Errorf("from %v: %d bytes from %d", from, len(got), obj.Offset)
		}
	}
	const memo = "memo:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	for _, text := range []string{"{}", `{"a":1}`, "{}"} {
		put(t, r, memo, []byte(text))
		if got, _ := read(t, r, memo, 0, ""); string(got) != text {
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
