package stores

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	nethttp "net/http"
	"os"

	"github.com/kilnbuild/kiln/warehouse/http"
)

// http returns how web servers are spoken to.
func (o Options) http() (http.Options, error) {
	h := http.Options{Token: o.Token, Username: o.Username, Password: o.Password, Transport: o.Transport, Retry: o.Retry}
	var err error
	if h.Transport == nil && (o.CAFile != "" || o.CertFile != "" || o.Insecure) {
		h.Transport, err = o.transport()
	}
	return h, err
}

func (o Options) transport() (nethttp.RoundTripper, error) {
	config := &tls.Config{InsecureSkipVerify: o.Insecure}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s has no certificate in PEM form", o.CAFile)
		}
	}
	if o.CertFile != "" {
		cert, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
		if err != nil {
			return nil, err
		}
		config.Certificates = []tls.Certificate{cert}
	}
	t := nethttp.DefaultTransport.(*nethttp.Transport).Clone()
	t.DisableCompression, t.TLSClientConfig, t.MaxIdleConnsPerHost = true, config, 16
	return t, nil
}
