package stores

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	nethttp "net/http"
	"os"
)

// transport returns what requests over http go through; nil if nothing is said of that.
func (o Options) transport() (nethttp.RoundTripper, error) {
	if o.CAFile == "" && o.CertFile == "" && !o.Insecure {
		return nil, nil
	}
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
