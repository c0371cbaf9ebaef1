package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

// Kueue's manager runs beside the components, so its Deployment goes, and the Service of its
// webhooks leads to the node. Its visibility API, which wants more set-up, goes too.
const kueueOverlay = `apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [%q, endpoints.yaml]
patches:
- patch: |
    {apiVersion: apps/v1, kind: Deployment, metadata: {name: kueue-controller-manager, namespace: kueue-system}, $patch: delete}
- patch: |
    {apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1beta1.visibility.kueue.x-k8s.io}, $patch: delete}
- patch: |
    {apiVersion: apiregistration.k8s.io/v1, kind: APIService, metadata: {name: v1beta2.visibility.kueue.x-k8s.io}, $patch: delete}
- target: {kind: Service, name: kueue-webhook-service}
  patch: |
    [{"op": "remove", "path": "/spec/selector"}]
`

// kueue installs Kueue and starts its manager, if there is to be one.
func (c *cluster) kueue() error {
	if c.KueueConfig == "" {
		return nil
	}
	if err := c.applyKueue(); err != nil {
		return err
	}
	certs := c.path("kueue-certs")
	config := object{
		"apiVersion": "config.kueue.x-k8s.io/v1beta2", "kind": "Configuration", "namespace": "kueue-system",
		"health": object{"healthProbeBindAddress": "127.0.0.1:8081"}, "metrics": object{"bindAddress": "0"},
		"webhook":          object{"host": node, "port": 9443, "certDir": certs},
		"leaderElection":   object{"leaderElect": false},
		"clientConnection": object{"qps": 200, "burst": 400},
		"integrations":     object{"frameworks": []string{"batch/job"}},
		"featureGates":     object{"VisibilityOnDemand": false},
	}
	if err := writeJSON(c.path("kueue.json"), config); err != nil {
		return err
	}
	if err := c.start("kueue", filepath.Join(c.bin, "kueue"), "--kubeconfig", c.path("kueue.kubeconfig"), "--config", c.path("kueue.json")); err != nil {
		return err
	}
	if err := until("Kueue's certificate", func() error { return c.kueueCertificate(certs) }); err != nil {
		return err
	}
	return until("Kueue", func() error {
		resp, err := http.Get("http://127.0.0.1:8081/readyz")
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			return errors.New(resp.Status)
		}
		return nil
	})
}

// applyKueue applies the manifests that Kueue's module has.
func (c *cluster) applyKueue() error {
	dir := c.path("kueue-overlay")
	base, err := filepath.Rel(dir, filepath.Join(c.KueueConfig, "default")) // kustomize takes no other
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), fmt.Appendf(nil, kueueOverlay, base), 0o644); err != nil {
		return err
	}
	endpoints := object{
		"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
		"metadata":  object{"name": "kueue-webhook-service-node", "namespace": "kueue-system", "labels": object{"kubernetes.io/service-name": "kueue-webhook-service"}},
		"endpoints": []any{object{"addresses": []string{node}, "conditions": object{"ready": true}}},
		"ports":     []any{object{"port": 9443, "protocol": "TCP"}},
	}
	if err := writeJSON(filepath.Join(dir, "endpoints.yaml"), endpoints); err != nil {
		return err
	}
	if err := command(c.path("bin/kubectl"), "kustomize", dir, "--output", c.path("kueue.yaml")); err != nil {
		return err
	}
	if err := c.kubectl("apply", "--server-side", "-f", c.path("kueue.yaml")); err != nil {
		return err
	}
	return c.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
}

// manifests applies what the caller has given. Kueue's webhooks answer a moment after it
// is ready.
func (c *cluster) manifests() error {
	if c.Apply == "" {
		return nil
	}
	return until("the manifests", func() error { return c.kubectl("apply", "--server-side", "-f", c.Apply) })
}

// kueueCertificate writes the certificate that Kueue makes itself, as a Secret, where its
// webhooks read it. In a pod the kubelet does that.
func (c *cluster) kueueCertificate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, name := range []string{"ca.crt", "tls.crt", "tls.key"} {
		data, err := output(c.path("bin/kubectl"), "--kubeconfig", c.path("admin.kubeconfig"), "--cache-dir", c.path("kubecache"), "-n", "kueue-system",
			"get", "secret", "kueue-webhook-server-cert", "-o", `go-template={{index .data "`+name+`" | base64decode}}`)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}
