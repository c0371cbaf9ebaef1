// Command cluster runs a command beside a Kubernetes of one node with Kueue and a
// container registry, all real, in mount, network and pid namespaces of their own, which
// end with the command. As an ordinary user with subordinate ids it makes a user namespace
// too; limits of resources are then not enforced. It needs no network and touches none.
//
//	cluster [-kueue-config DIR] [-apply FILE] [-keep DIR] COMMAND [ARG...]
//
// The programs kube and kueue are beside its own, containerd, runc, the CNI plugins bridge
// and host-local, docker-registry and busybox-static are Debian's. The command finds in its
// environment:
//
//	KUBECONFIG                  of a user with the rights that examples/cluster/rbac.yaml gives
//	KILN_TEST_CLUSTER           the directory of the cluster: admin.kubeconfig, log/, bin/kubectl,
//	                            shared/, which is the same path in the cluster's one node
//	KILN_TEST_CLUSTER_REGISTRY  HOST:PORT of the registry, in plain http
//	KILN_TEST_CLUSTER_IMAGE     an image that the node has, with busybox in it
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	osexec "os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

func main() {
	runtime.LockOSThread() // Pdeathsig is about the thread
	config := flag.String("kueue-config", "", "the directory config of Kueue's module; empty: no Kueue")
	manifests := flag.String("apply", "", "a manifest to apply before the command starts: the rights of its user, queues")
	keep := flag.String("keep", "", "a new directory for what the cluster writes; empty: one that is removed")
	inside := flag.Bool("inside", false, "we are in the namespaces")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: cluster [-kueue-config DIR] [-apply FILE] [-keep DIR] COMMAND [ARG...]")
		os.Exit(2)
	}
	code, err := 0, error(nil)
	if *inside {
		code, err = run(setup{Dir: *keep, KueueConfig: *config, Apply: *manifests}, flag.Args())
	} else {
		code, err = enter(*keep)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

// enter runs this program again in namespaces of its own, and cleans up after it.
func enter(dir string) (int, error) {
	dir, remove, err := directory(dir)
	if err != nil {
		return 0, err
	}
	defer remove()
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	args := []string{"--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"}
	env := os.Environ()
	if os.Getuid() == 0 {
		group, err := makeCgroups()
		if err != nil {
			return 0, err
		}
		defer group.remove()
		env = append(env, "CLUSTER_CGROUP="+group.path)
	} else {
		args = append(args, "--user", "--map-root-user", "--map-auto")
		env = append(env, "CLUSTER_ROOTLESS=1")
	}
	args = append(args, self, "-inside", "-keep", dir)
	cmd := osexec.Command("unshare", append(args, os.Args[1:]...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = os.Stdin, os.Stdout, os.Stderr, env
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-signals:
		cmd.Process.Kill() // and with unshare's child everything in its pid namespace
		err = <-ended
	}
	return exitCode(err)
}

// directory makes the directory of a cluster, at dir if it is not "".
func directory(dir string) (string, func(), error) {
	if dir != "" {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return "", nil, err
		}
		return abs, func() {}, os.Mkdir(abs, 0o755)
	}
	dir, err := os.MkdirTemp("", "kiln-cluster-")
	if err != nil {
		return "", nil, err
	}
	remove := func() {
		// The shims of containers are killed with the namespace; their mounts go a moment later.
		for range 50 {
			if os.RemoveAll(dir) == nil {
				return
			}
			time.Sleep(100 * time.Millisecond)
		}
		removeMapped(dir)
	}
	return dir, remove, os.Chmod(dir, 0o755)
}

// removeMapped removes what belongs to an ordinary user's subordinate ids.
func removeMapped(dir string) {
	if os.Getuid() != 0 {
		osexec.Command("unshare", "--user", "--map-root-user", "--map-auto", "rm", "-rf", dir).Run()
	}
}

// exitCode makes an exit code of what a command's end gave.
func exitCode(err error) (int, error) {
	var exit *osexec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() >= 0 {
		return exit.ExitCode(), nil
	}
	return 0, err
}
