package main

import (
	"bytes"
	"errors"
)

// control starts the control plane. Its network is small, its node one, its data gone
// at the end: nothing waits for a disk, nobody is elected.
func (c *cluster) control() error {
	bin := func(name string) string { return c.path("bin/" + name) }
	if err := c.start("etcd", bin("etcd"), "--data-dir", c.path("etcd"), "--unsafe-no-fsync", "--log-level", "warn",
		"--listen-client-urls", etcd, "--advertise-client-urls", etcd, "--listen-peer-urls", "http://127.0.0.1:2380"); err != nil {
		return err
	}
	// aggregator routing: without kube-proxy webhooks are reached at their endpoints.
	if err := c.start("kube-apiserver", bin("kube-apiserver"), "--etcd-servers", etcd,
		"--secure-port", "443", "--bind-address", "0.0.0.0", "--advertise-address", node, "--service-cluster-ip-range", "10.96.0.0/16",
		"--tls-cert-file", c.pki.path("server.crt"), "--tls-private-key-file", c.pki.path("server.key"),
		"--client-ca-file", c.pki.path("ca.crt"), "--token-auth-file", c.pki.path("tokens.csv"),
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", c.pki.path("accounts.key"),
		"--service-account-signing-key-file", c.pki.path("accounts.key"),
		"--authorization-mode", "Node,RBAC", "--enable-admission-plugins", "NodeRestriction", "--allow-privileged",
		"--enable-aggregator-routing", "--kubelet-preferred-address-types", "InternalIP"); err != nil {
		return err
	}
	if err := until("the API server", func() error { return c.kubectl("get", "--raw", "/readyz") }); err != nil {
		return err
	}
	if err := c.start("kube-controller-manager", bin("kube-controller-manager"), "--kubeconfig", c.path("controllers.kubeconfig"),
		"--leader-elect=false", "--bind-address", "127.0.0.1", "--use-service-account-credentials", "--allocate-node-cidrs=false",
		"--service-account-private-key-file", c.pki.path("accounts.key"), "--root-ca-file", c.pki.path("ca.crt"),
		"--pvclaimbinder-sync-period", "1s", "--flex-volume-plugin-dir", c.path("plugins"), "--kube-api-qps", "500", "--kube-api-burst", "1000"); err != nil {
		return err
	}
	return c.start("kube-scheduler", bin("kube-scheduler"), "--kubeconfig", c.path("scheduler.kubeconfig"), "--leader-elect=false", "--bind-address", "127.0.0.1")
}

// node starts the kubelet and waits until pods can be made.
func (c *cluster) node() error {
	config := object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": object{"anonymous": object{"enabled": true}, "webhook": object{"enabled": false}},
		"authorization":  object{"mode": "AlwaysAllow"},
		"address":        node, "clusterDNS": []string{node}, "resolvConf": "",
		"cgroupDriver": "cgroupfs", "cgroupRoot": cgroupRoot(), "failCgroupV1": false, "failSwapOn": false, "oomScoreAdj": 0,
		"kubeAPIQPS": 500, "kubeAPIBurst": 1000, "serializeImagePulls": false,
		"containerRuntimeEndpoint": "unix://" + c.path("containerd.sock"), "podLogsDir": c.path("pods"), "volumePluginDir": c.path("plugins"),
		"containerLogMaxSize": "64Mi", "maxPods": 200,
		"evictionHard":                object{"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
		"imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99,
	}
	if c.rootless {
		config["featureGates"] = object{"KubeletInUserNamespace": true}
		config["cgroupsPerQOS"] = false
		config["enforceNodeAllocatable"] = []string{}
		config["localStorageCapacityIsolation"] = false
	}
	if err := writeJSON(c.path("kubelet.json"), config); err != nil {
		return err
	}
	if err := c.start("kubelet", c.path("bin/kubelet"), "--config", c.path("kubelet.json"), "--kubeconfig", c.path("kubelet.kubeconfig"),
		"--root-dir", c.path("kubelet"), "--cert-dir", c.path("kubelet/pki"), "--node-ip", node); err != nil {
		return err
	}
	if err := until("the node to be ready", c.nodeReady); err != nil {
		return err
	}
	return until("the default service account", func() error { return c.kubectl("get", "serviceaccount", "default") })
}

func (c *cluster) nodeReady() error {
	out, err := output(c.path("bin/kubectl"), "--kubeconfig", c.path("admin.kubeconfig"), "--cache-dir", c.path("kubecache"), "get", "nodes", "-o",
		`jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}`)
	if err == nil && !bytes.Equal(out, []byte("True")) {
		err = errors.New("it is not")
	}
	return err
}
