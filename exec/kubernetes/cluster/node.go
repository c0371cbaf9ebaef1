package main

import (
	"fmt"
	"os"
	osexec "os/exec"
)

// cgroupRoot is where the kubelet makes cgroups: "/" where it makes none.
func cgroupRoot() string {
	if path := os.Getenv("CLUSTER_CGROUP"); path != "" {
		return path
	}
	return "/"
}

// A negative oom_score_adj is refused to root in some containers, and as an ordinary user.
const containerdConfig = `version = 2
root = "%[1]s/containerd/root"
state = "%[1]s/containerd/state"
[grpc]
  address = "%[1]s/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "%[1]s/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + pause + `"
  restrict_oom_score_adj = true
  disable_apparmor = true
  disable_cgroup = %[2]t
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "%[1]s/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`

// containerd starts containerd and gives it the images that are there from the start.
func (c *cluster) containerd() error {
	network := object{"cniVersion": "0.4.0", "name": "kiln", "plugins": []any{object{
		"type": "bridge", "bridge": "kiln0", "ipam": object{
			"type": "host-local", "dataDir": c.path("addresses"), "routes": []any{object{"dst": "0.0.0.0/0"}},
			"ranges": []any{[]any{object{"subnet": "10.88.0.0/24", "rangeStart": "10.88.0.10", "gateway": node}}},
		},
	}}}
	if err := writeJSON(c.path("cni/10-kiln.conflist"), network); err != nil {
		return err
	}
	config := fmt.Sprintf(containerdConfig, c.Dir, c.rootless)
	if err := os.WriteFile(c.path("containerd.toml"), []byte(config), 0o644); err != nil {
		return err
	}
	if err := c.start("containerd", "containerd", "--config", c.path("containerd.toml")); err != nil {
		return err
	}
	ctr := []string{"--address", c.path("containerd.sock"), "--namespace", "k8s.io"}
	if err := until("containerd", func() error { return command("ctr", append(ctr, "version")...) }); err != nil {
		return err
	}
	shell, err := osexec.LookPath("busybox")
	if err != nil {
		return err
	}
	if err := writeImages(c.path("images.tar"), shell); err != nil {
		return err
	}
	return command("ctr", append(ctr, "images", "import", c.path("images.tar"))...)
}

// registry starts a container registry that forgets everything at the end.
func (c *cluster) registry() error {
	config := object{
		"version": "0.1", "log": object{"level": "warn"}, "http": object{"addr": registry},
		"storage": object{"filesystem": object{"rootdirectory": c.path("registry")}, "delete": object{"enabled": true}},
	}
	if err := writeJSON(c.path("registry.json"), config); err != nil {
		return err
	}
	return c.start("docker-registry", "docker-registry", "serve", c.path("registry.json"))
}
