package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// A pki is what the parts of the cluster know one another by: an authority, a certificate
// of the API server, a key that signs service accounts' tokens, and a token for each user.
type pki struct {
	dir    string
	server string // the API server's URL
	tokens strings.Builder
}

// newPKI writes ca.crt, server.crt, server.key and accounts.key to dir.
func newPKI(dir, server string, addresses ...net.IP) (*pki, error) {
	p := &pki{dir: dir, server: server}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := certificate("kiln-cluster", 1)
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	if err := p.issue("ca", ca, ca, caKey.Public(), caKey); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	cert := certificate("kube-apiserver", 2)
	cert.DNSNames = []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"}
	cert.IPAddresses = addresses
	cert.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	if err := p.issue("server", cert, ca, key.Public(), caKey); err != nil {
		return nil, err
	}
	if err := p.key("server", key); err != nil {
		return nil, err
	}
	accounts, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	return p, p.key("accounts", accounts)
}

func certificate(name string, serial int64) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 1, 0), // tests turn clocks back
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

func (p *pki) issue(name string, cert, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) error {
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, public, signer)
	if err != nil {
		return err
	}
	return p.write(name+".crt", "CERTIFICATE", der)
}

func (p *pki) key(name string, key any) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return p.write(name+".key", "PRIVATE KEY", der)
}

func (p *pki) write(name, kind string, der []byte) error {
	return os.WriteFile(p.path(name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

func (p *pki) path(name string) string { return filepath.Join(p.dir, name) }

// user makes a user with a token, and writes a kubeconfig for it to path.
func (p *pki) user(path, name, group string) error {
	token := rand.Text()
	fmt.Fprintf(&p.tokens, "%s,%s,%s,%q\n", token, name, name, group)
	ca, err := os.ReadFile(p.path("ca.crt"))
	if err != nil {
		return err
	}
	// JSON is YAML.
	return writeJSON(path, object{
		"apiVersion": "v1", "kind": "Config", "current-context": "test",
		"clusters": []any{object{"name": "test", "cluster": object{"server": p.server, "certificate-authority-data": ca}}},
		"users":    []any{object{"name": name, "user": object{"token": token}}},
		"contexts": []any{object{"name": "test", "context": object{"cluster": "test", "user": name}}},
	})
}

// writeTokens writes tokens.csv, with the users made so far.
func (p *pki) writeTokens() error {
	return os.WriteFile(p.path("tokens.csv"), []byte(p.tokens.String()), 0o600)
}
