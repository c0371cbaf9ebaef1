package reapi_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/reapi"
	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
	"github.com/kilnbuild/kiln/warehouse/serve"
	"github.com/kilnbuild/kiln/warehouse/warehousetest"
)

func TestOpen(t *testing.T) {
	for url, want := range map[string]string{
		"reapi://cache.example":               "",
		"reapi://cache.example:9092/team/one": "",
		"grpcs://cache.example":               "",
		"reapi://localhost:9092":              "",
		"grpc://127.0.0.1:9092":               "",
		"grpc://cache.example:9092":           "in the clear",
		"grpc://localhost":                    "port is missing",
		"reapi://":                            "has the URL reapi://HOST",
		"reapi://cache.example?token=s3cret":  "has the URL reapi://HOST",
		"reapi://me:s3cret@cache.example":     "config.hcl",
		"https://cache.example":               "begins with reapi",
	} {
		s, err := reapi.Open(url, reapi.Options{})
		if want == "" {
			if err != nil || s.String() != url {
				t.Errorf("%s: %v, %v", url, s, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v, want %q in it", url, err, want)
		}
	}
	if _, err := reapi.Open("grpc://cache.example:9092", reapi.Options{Insecure: true}); err != nil {
		t.Error(err)
	}
}

// refused looks for a memo and returns the error.
func refused(t *testing.T, url string, o reapi.Options) error {
	t.Helper()
	s := open(t, url, o)
	defer s.Close()
	_, err := s.Memo(t.Context(), warehouse.StepKey(strings.Repeat("d", 64)))
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Fatalf("the error is %v", err)
	}
	return err
}

func says(t *testing.T, err error, want ...string) {
	t.Helper()
	for _, want := range want {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error says not %q: %v", want, err)
		}
	}
}

func TestOutOfReach(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	l.Close()
	err = refused(t, "grpc://"+l.Addr().String(), reapi.Options{Token: "s3cret"}) // and at once
	says(t, err, "connection refused", l.Addr().String())
	if grpc.CodeOf(err) != grpc.Unavailable {
		t.Error(err)
	}
	says(t, refused(t, "grpcs://"+strings.TrimPrefix(kilnServer(t, serve.Options{}), "grpc://"), reapi.Options{}), "is it grpc://")
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	says(t, refused(t, "grpc://"+web.Listener.Addr().String(), reapi.Options{Password: "s3cret"}), "no gRPC in plaintext")
	page := serveHTTP(t, http.NotFoundHandler(), new(atomic.Int64))
	says(t, refused(t, "grpc://"+page, reapi.Options{}), "is this a REAPI cache?", "404")
}

// certificates makes an authority and a certificate for 127.0.0.1, which serves
// clients too.
func certificates(t *testing.T) (ca, cert, key string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	must(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	cert = write("cert", "CERTIFICATE", der)
	return cert, cert, write("key", "PRIVATE KEY", secret)
}

func TestTLS(t *testing.T) {
	ca, cert, key := certificates(t)
	url := strings.Replace(kilnServer(t, serve.Options{Cert: cert, Key: key, ClientCA: ca}), "grpc", "reapi", 1)
	l := warehousetest.OpenLocal(t)
	rec := mixed(t, l)
	s := open(t, url, reapi.Options{CAFile: ca, CertFile: cert, KeyFile: key})
	defer s.Close()
	must(t, s.Put(t.Context(), rec, l, warehouse.Transfer{}))
	must(t, get(t, s, rec.ID, t.TempDir()))

	says(t, refused(t, strings.Replace(url, "reapi", "grpcs", 1), reapi.Options{CertFile: cert, KeyFile: key}), "ca_file")
	says(t, refused(t, url, reapi.Options{CAFile: ca}), "client certificate")
	says(t, refused(t, strings.Replace(url, "reapi", "grpc", 1), reapi.Options{}), "is it grpcs://")
	for _, o := range []reapi.Options{{CAFile: key}, {CAFile: "nowhere"}, {CertFile: cert}, {CertFile: key, KeyFile: key}} {
		if _, err := reapi.Open(url, o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

// Who may do what: with tokens, as the server lists them.
func TestTokens(t *testing.T) {
	tokens := filepath.Join(t.TempDir(), "tokens")
	must(t, os.WriteFile(tokens, []byte("writer s3cret-of-the-writer-0123456789 rw\nreader s3cret-of-the-reader-0123456789 ro\n"), 0o600))
	url := kilnServer(t, serve.Options{Tokens: tokens})
	l := warehousetest.OpenLocal(t)
	rec := warehousetest.Small(t, l, "one")
	writer := open(t, url, reapi.Options{Token: "s3cret-of-the-writer-0123456789"})
	defer writer.Close()
	must(t, writer.Put(t.Context(), rec, l, warehouse.Transfer{}))
	reader := open(t, url, reapi.Options{Username: "any", Password: "s3cret-of-the-reader-0123456789"})
	defer reader.Close()
	must(t, get(t, reader, rec.ID, ""))
	is(t, reader.Put(t.Context(), warehousetest.Small(t, l, "two"), l, warehouse.Transfer{}), warehouse.ErrReadOnly)
	is(t, reader.PutMemo(t.Context(), warehouse.StepKey(strings.Repeat("e", 64)), []byte("{}")), warehouse.ErrReadOnly)
	says(t, refused(t, url, reapi.Options{}), "name a token or a certificate")
	says(t, refused(t, url, reapi.Options{Token: "s3cret of nobody"}), "does not take these credentials")
}

// What a server says that it cannot do.
func TestAbilities(t *testing.T) {
	l := warehousetest.OpenLocal(t)
	rec := mixed(t, l)
	put := func(change func(c *remote.CacheCapabilities)) error {
		f := newFake(t)
		change(&f.caps)
		s := open(t, f.url(), reapi.Options{Retry: quick, Compress: reapi.CompressAlways})
		defer s.Close()
		err := s.Put(t.Context(), rec, l, warehouse.Transfer{})
		if err == nil {
			must(t, get(t, s, rec.ID, ""))
		}
		return err
	}
	err := put(func(c *remote.CacheCapabilities) { c.Functions = []remote.DigestFunction{9} })
	if err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("another digest function: %v", err)
	}
	is(t, put(func(c *remote.CacheCapabilities) { c.ActionUpdates = nil }), warehouse.ErrReadOnly)
	if err := put(func(c *remote.CacheCapabilities) { c.MaxBlob = 1 << 20 }); err == nil || !strings.Contains(err.Error(), "1048576") {
		t.Errorf("small contents only: %v", err)
	}
	must(t, put(func(c *remote.CacheCapabilities) { c.MaxBatch = 1000 }))
	must(t, put(func(c *remote.CacheCapabilities) { c.Compressors, c.BatchCompressors = nil, nil }))
	must(t, put(func(c *remote.CacheCapabilities) { c.Functions = nil }))
}

// A server that is there and does not answer is not waited for without end.
func TestStall(t *testing.T) {
	f, l := newFake(t), warehousetest.OpenLocal(t)
	rec := warehousetest.Noise(t, l, 9<<20, 9)
	s := open(t, f.url(), reapi.Options{})
	must(t, s.Put(t.Context(), rec, l, warehouse.Transfer{}))
	s.Close()
	f.piece = func(_ string, sent int64, data []byte) ([]byte, error) {
		if sent > 0 {
			<-t.Context().Done()
			return nil, t.Context().Err()
		}
		return data, nil
	}
	s = open(t, f.url(), reapi.Options{Stall: 50 * time.Millisecond, Retry: retry.Policy{Tries: 1}})
	defer s.Close()
	for {
		err := get(t, s, rec.ID, "")
		if err == nil {
			t.Fatal("no error")
		}
		if !strings.Contains(err.Error(), "nothing could be sent for 50ms") { // by a machine that is busy
			says(t, err, "nothing came for 50ms")
			break
		}
	}
}
