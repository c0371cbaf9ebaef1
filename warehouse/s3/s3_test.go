package s3

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/s3/s3test"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

// alone keeps AWS's environment and files out of a test.
func alone(t testing.TB) {
	t.Helper()
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION",
		"AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "HTTP_PROXY", "http_proxy"} {
		t.Setenv(name, "")
	}
	t.Setenv("HOME", t.TempDir())
}

// quick is a policy that does not pause.
var quick = retry.Policy{Pause: func(ctx context.Context, _ time.Duration) error { return ctx.Err() }}

func open(t testing.TB, url string, o Options) *Bucket {
	t.Helper()
	o.Retry = quick
	b, err := Open(t.Context(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b.(*Bucket)
}

func known() Options { return Options{AccessKey: s3test.AccessKey, SecretKey: s3test.SecretKey} }

const ware = "tree:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef-85"

func random(n int) []byte {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(data)
	return data
}

// uploads returns what S3 says of uploads that have begun and not ended.
func uploads(t testing.TB, b *Bucket) string {
	t.Helper()
	resp, err := b.send(t.Context(), request{method: http.MethodGet, query: url.Values{"uploads": {""}}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestObjects(t *testing.T) {
	alone(t)
	s := s3test.Start(t)
	b := open(t, s.URL("some/prefix with $igns"), known())
	if _, err := b.Stat(t.Context(), ware); !errors.Is(err, warehouse.ErrMissing) {
		t.Errorf("Stat before it is there: %v", err)
	}
	if _, err := b.Open(t.Context(), ware, 0, ""); !errors.Is(err, warehouse.ErrMissing) {
		t.Errorf("Open before it is there: %v", err)
	}
	data := random(100_000)
	if err := b.Put(t.Context(), ware, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	info, err := b.Stat(t.Context(), ware)
	if err != nil || info.Size != int64(len(data)) || info.Version == "" {
		t.Errorf("Stat: %+v, %v", info, err)
	}
	got, obj := warehousetest.Read(t, b, ware, 0, "")
	if !bytes.Equal(got, data) || obj.Info != info || obj.Offset != 0 {
		t.Errorf("Open: %d bytes, %+v", len(got), obj.Info)
	}
	got, obj = warehousetest.Read(t, b, ware, 70_000, info.Version)
	if !bytes.Equal(got, data[70_000:]) || obj.Info != info || obj.Offset != 70_000 {
		t.Errorf("from the middle: %d bytes from %d, %+v", len(got), obj.Offset, obj.Info)
	}
	for _, from := range []struct {
		offset  int64
		version string
	}{{70_000, `"other"`}, {100_000, info.Version}, {200_000, ""}} {
		if got, obj = warehousetest.Read(t, b, ware, from.offset, from.version); !bytes.Equal(got, data) || obj.Offset != 0 {
			t.Errorf("from %v: %d bytes from %d", from, len(got), obj.Offset)
		}
	}
	// another in its place, and one of no bytes
	for _, data := range [][]byte{random(7), {}} {
		if err := b.Put(t.Context(), ware, bytes.NewReader(data), int64(len(data))); err != nil {
			t.Fatal(err)
		}
		if got, _ := warehousetest.Read(t, b, ware, 0, ""); !bytes.Equal(got, data) {
			t.Errorf("replaced by %d bytes, read %d", len(data), len(got))
		}
	}
}

func TestParts(t *testing.T) {
	alone(t)
	s := s3test.Start(t)
	o := known()
	o.PartSize = 5 << 20
	b := open(t, s.URL(""), o)
	data := random(23<<20 + 1)
	if err := b.Put(t.Context(), ware, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
	if got, _ := warehousetest.Read(t, b, ware, 0, ""); !bytes.Equal(got, data) {
		t.Errorf("read %d bytes", len(got))
	}
}
