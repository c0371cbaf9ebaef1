package serve

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

const (
	readToken  = "reader-0123456789abcdef"
	writeToken = "writer-0123456789abcdef"
)

func tokenFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

const bothTokens = "# who may\n\nci " + writeToken + " rw\n  laptop\t" + readToken + "  ro\n"

// dialAs returns a client with a token.
func (r *running) dialAs(t testing.TB, authorization string, config *tls.Config) *grpc.Conn {
	c := grpc.NewConn(r.addr, grpc.Options{TLS: config, Header: http.Header{"Authorization": {authorization}}})
	t.Cleanup(func() { c.Close() })
	return c
}

// TestTokens: who may do what, over gRPC and HTTP, and that no token is told to anybody.
func TestTokens(t *testing.T) {
	s := start(t, Options{Tokens: tokenFile(t, bothTokens)})
	d := remote.DigestOf([]byte("hello"))
	for _, x := range []struct {
		authorization string
		read, write   grpc.Code
		get, put      int
	}{
		{"", grpc.Unauthenticated, grpc.Unauthenticated, 401, 401},
		{"Bearer " + readToken, grpc.OK, grpc.PermissionDenied, 404, 403},
		{"bearer " + readToken, grpc.OK, grpc.PermissionDenied, 404, 403},
		{"Bearer " + writeToken + "x", grpc.Unauthenticated, grpc.Unauthenticated, 401, 401},
		{"Bearer ", grpc.Unauthenticated, grpc.Unauthenticated, 401, 401},
		{"Bearer", grpc.Unauthenticated, grpc.Unauthenticated, 401, 401},
		{"Basic !!!", grpc.Unauthenticated, grpc.Unauthenticated, 401, 401},
		{writeToken, grpc.Unauthenticated, grpc.Unauthenticated, 401, 401},
		{basic("anybody", writeToken), grpc.OK, grpc.OK, 404, 200},
		{"Bearer " + writeToken, grpc.OK, grpc.OK, 200, 200},
	} {
		get, _ := s.web(t, http.MethodGet, "/cas/"+d.Hash, x.authorization, nil)
		put, _ := s.web(t, http.MethodPut, "/cas/"+d.Hash, x.authorization, []byte("hello"))
		if get != x.get || put != x.put {
			t.Errorf("%q: GET %d, PUT %d, want %d, %d", x.authorization, get, put, x.get, x.put)
		}
		c := s.dialAs(t, x.authorization, nil)
		var caps remote.ServerCapabilities
		is(t, c.Call(t.Context(), remote.GetCapabilities, &remote.GetCapabilitiesRequest{}, &caps), x.read)
		if caps.Cache != nil && caps.Cache.ActionUpdates.Enabled != (x.write == grpc.OK) {
			t.Errorf("%q: told that it may write: %v", x.authorization, caps.Cache.ActionUpdates.Enabled)
		}
		update := &remote.UpdateActionResultRequest{Action: d}
		is(t, c.Call(t.Context(), remote.UpdateActionResult, update, new(remote.Raw)), x.write)
		batch := &remote.BatchUpdateBlobsRequest{Blobs: []remote.BlobUpdate{{Digest: d, Data: []byte("hello")}}}
		is(t, c.Call(t.Context(), remote.BatchUpdateBlobs, batch, new(remote.BatchUpdateBlobsResponse)), x.write)
		_, err := putStream(t.Context(), c, upload(d), []byte("hello"), 10)
		is(t, err, x.write)
	}
	if code, _ := s.web(t, http.MethodGet, "/metrics", "", nil); code != 401 {
		t.Errorf("metrics without a token: %d", code)
	}
	if code, body := s.web(t, http.MethodGet, "/healthz", "", nil); code != 200 || body != "ok\n" {
		t.Errorf("health: %d %q", code, body)
	}
	var health remote.Raw
	must(t, s.dial(t).Call(t.Context(), healthCheck, new(remote.Raw), &health))
	if string(health) != "\x08\x01" {
		t.Errorf("health: %q", health)
	}
	for _, secret := range []string{readToken, writeToken} {
		if strings.Contains(s.log.String(), secret) {
			t.Error("a token is in the log")
		}
	}
}

func basic(user, password string) string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

// web sends a request over HTTP/1.1 and returns the answer.
func (r *running) web(t testing.TB, method, path, authorization string, body []byte) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+r.addr+path, bytes.NewReader(body))
	must(t, err)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(data)
}

func TestTokenFiles(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "has none",
		"# none\n":                       "has none",
		"ci " + writeToken:               ":1: 2 words",
		"\nci " + writeToken + " rwx":    ":2: the third word",
		"ci short rw":                    "is short",
		"ci " + writeToken + " rw extra": "4 words",
	} {
		_, err := readTokens(tokenFile(t, text))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "0123456789abcdef") {
			t.Errorf("%q: %v, want %q and no token", text, err, want)
		}
	}
	open := tokenFile(t, bothTokens)
	must(t, os.Chmod(open, 0o640))
	if _, err := readTokens(open); err == nil || !strings.Contains(err.Error(), "can be read by others") {
		t.Errorf("a file that others can read: %v", err)
	}
}

func TestReadOnly(t *testing.T) {
	s := start(t, Options{Tokens: tokenFile(t, bothTokens), ReadOnly: true})
	d := remote.DigestOf([]byte("hello"))
	c := s.dialAs(t, "Bearer "+writeToken, nil)
	_, err := putStream(t.Context(), c, upload(d), []byte("hello"), 10)
	is(t, err, grpc.PermissionDenied)
	for _, path := range []string{"/cas/" + d.Hash, "/ac/" + d.Hash, "/memo/" + d.Hash[:2] + "/" + d.Hash, "/abc/def/abcdefghijk"} {
		if code, _ := s.web(t, http.MethodPut, path, "Bearer "+writeToken, []byte("hello")); code != 403 {
			t.Errorf("PUT %s: %d", path, code)
		}
	}
}

// TestReload: new tokens count from then on; a file that is none changes nothing.
func TestReload(t *testing.T) {
	path := tokenFile(t, bothTokens)
	s := start(t, Options{Tokens: path})
	must(t, os.WriteFile(path, []byte("broken"), 0o600))
	if err := s.Reload(); err == nil {
		t.Error("read what is no list of tokens")
	}
	if code, _ := s.web(t, http.MethodGet, "/", "Bearer "+readToken, nil); code != 200 {
		t.Errorf("after a reload that failed: %d", code)
	}
	must(t, os.WriteFile(path, []byte("other "+writeToken+" ro"), 0o600))
	must(t, s.Reload())
	for token, want := range map[string]int{readToken: 401, writeToken: 200} {
		if code, _ := s.web(t, http.MethodGet, "/", "Bearer "+token, nil); code != want {
			t.Errorf("after the reload: %d, want %d", code, want)
		}
	}
}

// TestRebinding: a page in a browser cannot ask under a name of its own, unless it knows
// a token.
func TestRebinding(t *testing.T) {
	for _, x := range []struct {
		o    Options
		host string
		want int
	}{
		{Options{}, "evil.example:9092", 403}, {Options{}, "localhost:9092", 200}, {Options{}, "[::1]:9092", 200},
		{Options{Tokens: tokenFile(t, bothTokens)}, "cache.example", 200},
	} {
		s := start(t, x.o)
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr+"/", nil)
		must(t, err)
		req.Host = x.host
		req.Header.Set("Authorization", "Bearer "+readToken)
		resp, err := http.DefaultClient.Do(req)
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != x.want {
			t.Errorf("%s: %d, want %d", x.host, resp.StatusCode, x.want)
		}
	}
}

// An authority signs certificates.
type authority struct {
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	file    string
	expired bool // what it signs is too old
}

func TestExpired(t *testing.T) {
	ca := newAuthority(t)
	for _, ca.expired = range []bool{false, true} {
		var lines []string
		cert, key := ca.files(t, "server")
		s, err := New(Options{Dir: t.TempDir(), MaxBytes: 1 << 20, Cert: cert, Key: key, Log: func(line string) { lines = append(lines, line) }})
		must(t, err)
		must(t, s.Close())
		if told := strings.Contains(strings.Join(lines, "\n"), "certificate has expired"); told != ca.expired {
			t.Errorf("expired %t: told %q", ca.expired, lines)
		}
	}
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := new(authority)
	a.cert, a.key = a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	a.file = filepath.Join(t.TempDir(), "ca.pem")
	must(t, os.WriteFile(a.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600))
	return a
}

func (a *authority) sign(t testing.TB, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	c.SerialNumber = big.NewInt(time.Now().UnixNano())
	c.NotBefore, c.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(time.Hour)
	if a.expired {
		c.NotAfter = time.Now().Add(-time.Hour)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	return cert, key
}

// files writes a certificate and its key.
func (a *authority) files(t testing.TB, name string) (certFile, keyFile string) {
	t.Helper()
	cert, key := a.sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	must(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}), 0o600))
	must(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	return certFile, keyFile
}

func (a *authority) config(t testing.TB, pairs ...string) *tls.Config {
	t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	c.RootCAs.AddCert(a.cert)
	if len(pairs) == 2 {
		pair, err := tls.LoadX509KeyPair(pairs[0], pairs[1])
		must(t, err)
		c.Certificates = []tls.Certificate{pair}
	}
	return c
}

// TestTLS: gRPC and HTTP of both versions over one port, certificates read anew, and
// clients without TLS told so.
func TestTLS(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.files(t, "server")
	s := start(t, Options{Cert: cert, Key: key})
	c := s.dialAs(t, "", ca.config(t))
	must(t, c.Call(t.Context(), remote.GetCapabilities, &remote.GetCapabilitiesRequest{}, new(remote.ServerCapabilities)))
	for _, two := range []bool{false, true} {
		transport := &http.Transport{TLSClientConfig: ca.config(t), ForceAttemptHTTP2: two}
		resp, err := (&http.Client{Transport: transport}).Get("https://" + s.addr + "/healthz")
		must(t, err)
		resp.Body.Close()
		if resp.StatusCode != 200 || (resp.ProtoMajor == 2) != two {
			t.Errorf("%s: %d", resp.Proto, resp.StatusCode)
		}
		transport.CloseIdleConnections()
	}
	if code, body := s.web(t, http.MethodGet, "/", "", nil); code != 400 || !strings.Contains(body, "HTTPS") {
		t.Errorf("without TLS: %d %q", code, body)
	}
	old := &tls.Config{RootCAs: x509.NewCertPool(), MaxVersion: tls.VersionTLS11}
	if conn, err := tls.Dial("tcp", s.addr, old); err == nil {
		conn.Close()
		t.Error("TLS 1.1 was accepted")
	}
	other := newAuthority(t)
	newCert, newKey := other.files(t, "server")
	must(t, os.Rename(newCert, cert))
	if err := s.Reload(); err == nil {
		t.Error("took a certificate with another's key")
	}
	must(t, os.Rename(newKey, key))
	must(t, s.Reload())
	conn, err := tls.Dial("tcp", s.addr, other.config(t))
	must(t, err)
	conn.Close()
}

func TestClientCertificates(t *testing.T) {
	ca, clients := newAuthority(t), newAuthority(t)
	cert, key := ca.files(t, "server")
	s := start(t, Options{Cert: cert, Key: key, ClientCA: clients.file})
	good, goodKey := clients.files(t, "ci")
	wrong, wrongKey := ca.files(t, "stranger")
	call := func(c *tls.Config) error {
		return s.dialAs(t, "", c).Call(t.Context(), remote.UpdateActionResult,
			&remote.UpdateActionResultRequest{Action: remote.DigestOf([]byte("x"))}, new(remote.Raw))
	}
	must(t, call(ca.config(t, good, goodKey)))
	for what, c := range map[string]*tls.Config{"none": ca.config(t), "of another authority": ca.config(t, wrong, wrongKey)} {
		if err := call(c); grpc.CodeOf(err) != grpc.Unavailable {
			t.Errorf("certificate %s: %v", what, err)
		}
	}
	if !strings.Contains(s.log.String(), `"ci" POST`) {
		t.Error("the log does not say whose certificate it was")
	}
}

func TestBadFiles(t *testing.T) {
	ca := newAuthority(t)
	cert, key := ca.files(t, "server")
	for i, o := range []Options{
		{Cert: "/nowhere", Key: key}, {Cert: cert, Key: cert}, {Cert: cert, Key: key, ClientCA: key}, {Tokens: "/nowhere"},
	} {
		o.Dir, o.MaxBytes = t.TempDir(), 1<<20
		if s, err := New(o); err == nil {
			s.Close()
			t.Error(fmt.Sprint(i, ": no error"))
		}
	}
}
