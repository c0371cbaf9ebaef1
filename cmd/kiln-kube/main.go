// Command kiln-kube is how kiln speaks to a Kubernetes cluster: it finds the cluster and the
// credentials as kubectl does, and passes on requests that come to a socket. kiln carries it
// inside and starts it when it needs a cluster, so that kiln itself, which starts a
// thousand times for each such need, does not pay for the start of the client library.
//
// File descriptor 3 is the listening socket, a line of JSON on stdout (api.Cluster) says what
// was found, and the end of stdin ends it: then it removes the socket with its directory.
package main

import (
	"encoding/json"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"

	_ "k8s.io/client-go/plugin/pkg/client/auth/oidc"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kilnbuild/kiln/exec/kubernetes/api"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "")
	context := flag.String("context", "", "")
	namespace := flag.String("namespace", "", "")
	flag.Parse()
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = *kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: *context}
	overrides.Context.Namespace = *namespace
	found, handler, err := find(clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides))
	if err != nil {
		found.Error = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil || found.Error != "" {
		os.Exit(1)
	}
	listener, err := net.FileListener(os.NewFile(3, "socket"))
	if err != nil {
		os.Exit(1)
	}
	go http.Serve(listener, handler)
	io.Copy(io.Discard, os.Stdin)
	os.RemoveAll(filepath.Dir(listener.Addr().String())) // kiln may have been killed
}

// find returns the cluster that a configuration leads to, and what passes requests on to it.
func find(from clientcmd.ClientConfig) (found api.Cluster, _ http.Handler, err error) {
	config, err := from.ClientConfig()
	if err != nil {
		return found, nil, err
	}
	config.UserAgent = "kiln"
	if found.Namespace, _, err = from.Namespace(); err != nil {
		return found, nil, err
	}
	found.Server = config.Host
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return found, nil, err
	}
	transport, err := rest.TransportFor(config)
	if err != nil {
		return found, nil, err
	}
	return found, pass(base, transport), nil
}

// pass passes requests on to the server at base, and every byte of an answer at once: logs
// and watches do not wait for more. A server that cannot be reached is a 502 that says why.
func pass(base *url.URL, transport http.RoundTripper) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(base)
			r.Out.Host = ""
		},
		Transport:     transport,
		FlushInterval: -1,
		ErrorLog:      log.New(io.Discard, "", 0),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, err.Error(), http.StatusBadGateway)
		},
	}
}
