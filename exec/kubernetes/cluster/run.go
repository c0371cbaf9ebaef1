package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	osexec "os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// The addresses are of a network that ends with us.
const (
	node     = "10.88.0.1"      // the node, and the bridge that pods are at
	service  = "10.96.0.1"      // the Service "kubernetes": the API server without a proxy between
	registry = "localhost:5000" // what containerd speaks plain http with unasked
	etcd     = "http://127.0.0.1:2379"
)

// setup says what to start.
type setup struct {
	Dir         string
	KueueConfig string
	Apply       string
}

// A cluster is one that starts, runs, and ends.
type cluster struct {
	setup
	*supervisor
	*pki
	bin      string // the directory of our programs
	rootless bool
	began    time.Time
}

type object = map[string]any

// run starts the cluster, runs the command and returns its exit code.
func run(s setup, command []string) (int, error) {
	if os.Getpid() == 1 {
		return reap(command)
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	c := &cluster{setup: s, supervisor: newSupervisor(s.Dir), bin: filepath.Dir(self), rootless: os.Getenv("CLUSTER_ROOTLESS") != "", began: time.Now()}
	defer c.supervisor.close()
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"namespaces", c.prepare},
		{"certificates", c.certify},
		{"control plane", c.control},
		{"registry", c.registry},
		{"containerd", c.containerd},
		{"node", c.node},
		{"kueue", c.kueue},
		{"manifests", c.manifests},
	} {
		if err := step.do(); err != nil {
			return 0, fmt.Errorf("%s: %w (logs are in %s)", step.what, err, c.path("log"))
		}
		fmt.Fprintf(os.Stderr, "cluster: %5.1f s  %s\n", time.Since(c.began).Seconds(), step.what)
	}
	cmd := osexec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(),
		"KUBECONFIG="+c.path("kiln.kubeconfig"), "KILN_TEST_CLUSTER="+c.Dir, "KILN_TEST_CLUSTER_REGISTRY="+registry,
		"KILN_TEST_CLUSTER_IMAGE="+busybox, "PATH="+c.path("bin")+":"+os.Getenv("PATH"))
	return exitCode(cmd.Run())
}

// reap is process 1: it runs this program once more and waits for whatever else is left to it.
func reap(command []string) (int, error) {
	cmd := osexec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd.Path = self
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return 0, fmt.Errorf("wait: %w", err)
		case pid == cmd.Process.Pid && status.Signaled():
			return 0, fmt.Errorf("ended by signal %v", status.Signal())
		case pid == cmd.Process.Pid:
			return status.ExitStatus(), nil
		}
	}
}

func (c *cluster) path(name string) string { return filepath.Join(c.Dir, name) }

// prepare makes what the components write to private, and the network.
func (c *cluster) prepare() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts: %w", err)
	}
	for _, dir := range []string{"/run", "/var/lib", "/var/log"} {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	for _, dir := range []string{"/run/netns", "/run/containerd", c.path("log"), c.path("bin"), c.path("shared"), c.path("cni"), c.path("pods")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(c.path("shared"), 0o777|os.ModeSticky); err != nil {
		return err
	}
	for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"} {
		if err := os.Symlink(filepath.Join(c.bin, "kube"), c.path("bin/"+name)); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", "kiln0", "type", "bridge"},
		{"address", "add", node + "/24", "dev", "kiln0"},
		{"address", "add", service + "/32", "dev", "kiln0"},
		{"link", "set", "kiln0", "up"},
	} {
		if err := command("ip", args...); err != nil {
			return err
		}
	}
	return nil
}

// certify makes the keys and the users.
func (c *cluster) certify() (err error) {
	c.pki, err = newPKI(c.path("pki"), "https://"+node+":443", net.ParseIP("127.0.0.1"), net.ParseIP(node), net.ParseIP(service))
	if err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	for _, u := range [][3]string{
		{"admin", "admin", "system:masters"},
		{"controllers", "system:kube-controller-manager", ""},
		{"scheduler", "system:kube-scheduler", ""},
		{"kubelet", "system:node:" + host, "system:nodes"},
		{"kueue", "kueue", "system:masters"},
		{"kiln", "kiln", ""},
		{"nobody", "nobody", ""},
	} {
		if err := c.user(c.path(u[0]+".kubeconfig"), u[1], u[2]); err != nil {
			return err
		}
	}
	return c.writeTokens()
}

// kubectl runs kubectl as the administrator.
func (c *cluster) kubectl(args ...string) error {
	return command(c.path("bin/kubectl"), append([]string{"--kubeconfig", c.path("admin.kubeconfig"), "--cache-dir", c.path("kubecache")}, args...)...)
}

// command runs a program; what it says is in the error.
func command(name string, args ...string) error {
	_, err := output(name, args...)
	return err
}

func output(name string, args ...string) ([]byte, error) {
	out, err := osexec.Command(name, args...).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("%s %v: %w\n%s", filepath.Base(name), args, err, out)
	}
	return out, nil
}

func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}
