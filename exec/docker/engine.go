package docker

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"

	"github.com/kilnbuild/kiln/exec"
)

// An engine is Docker's or podman's.
type engine struct {
	*client.Client
	info   system.Info
	podman bool
	// shares says that files of this machine can be mounted into containers, where they
	// belong to root when they belong to us here.
	shares bool
}

// patience is how long an engine may take to say who it is.
const patience = 20 * time.Second

// dial finds the engine and asks who it is.
func dial(ctx context.Context, host, name string) (*engine, error) {
	at, err := find(host, name)
	if err != nil {
		return nil, fmt.Errorf("find the engine: %w", err)
	}
	cli, err := at.client()
	if err != nil {
		return nil, fmt.Errorf("connect to the engine at %s: %w", at.host, err)
	}
	e := &engine{Client: cli}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	result, err := cli.Info(ctx, client.InfoOptions{})
	if err != nil {
		cli.Close()
		return nil, unreachable(at, err)
	}
	e.info = result.Info
	if e.info.OSType != "" && e.info.OSType != "linux" {
		return nil, fmt.Errorf("the engine at %s runs %s containers: kiln's are for linux", at.host, e.info.OSType)
	}
	version, err := cli.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return nil, unreachable(at, err)
	}
	e.podman = slices.ContainsFunc(version.Components, func(c system.ComponentVersion) bool { return strings.HasPrefix(c.Name, "Podman") })
	e.shares = at.sharesFiles(e.info.SecurityOptions)
	return e, nil
}

// An unreachableError says in its own words what is wrong with an engine that did not answer.
type unreachableError struct {
	text string
	error
}

func (e *unreachableError) Error() string { return e.text }
func (e *unreachableError) Unwrap() error { return e.error }

// unreachable says why an engine did not answer, and what to do.
func unreachable(at place, err error) error {
	why, hint := err, "is it running? (systemctl status docker)"
	var refused *net.OpError
	if errors.As(err, &refused) {
		why = refused.Err // what is around it names the place again
	}
	switch {
	case errors.Is(err, syscall.EACCES) || errdefs.IsPermissionDenied(err):
		hint = "this user may not use it: be in the group docker, or use podman (systemctl --user start podman.socket)"
	case at.podman:
		hint = "start it: systemctl --user start podman.socket"
	case at.fallback:
		var at []string
		for _, p := range usual() {
			at = append(at, strings.TrimPrefix(p.host, "unix://"))
		}
		text := fmt.Sprintf("there is no engine at %s: start one, set DOCKER_HOST, or name one in the block runner \"docker\" of config.hcl", strings.Join(at, ", "))
		return &unreachableError{text, err}
	}
	return &unreachableError{fmt.Sprintf("the engine at %s does not answer: %v: %s", at.host, why, hint), err}
}

// sharesFiles guesses from who the engine is whether it sees this machine's files as we
// do; the helper makes sure.
func (p place) sharesFiles(security []string) bool {
	u, err := url.Parse(p.host)
	if err != nil || u.Scheme != "unix" {
		return false
	}
	if owner, err := ownerOf(u.Path); err == nil && owner != 0 || secured(security, "rootless") {
		return err == nil && owner == os.Geteuid()
	}
	return os.Geteuid() == 0 && !secured(security, "userns")
}

// ownerOf returns the user to whom a socket belongs: who runs the engine.
func ownerOf(path string) (int, error) {
	var st syscall.Stat_t
	err := syscall.Stat(path, &st)
	return int(st.Uid), err
}

// arch is the engine's, in Go's words.
func (e *engine) arch() string {
	switch a := e.info.Architecture; a {
	case "x86_64":
		return "amd64"
	case "aarch64":
		return "arm64"
	default:
		return a
	}
}

// takes says why the engine cannot do what a specification asks for.
func (e *engine) takes(spec exec.JobSpec) error {
	if len(spec.Mounts) > 0 && !e.local() {
		return fmt.Errorf("%w: paths of this machine cannot be mounted there: the engine is another machine's", exec.ErrUnsupported)
	}
	if e.arch() != runtime.GOARCH {
		return fmt.Errorf("%w: the engine's machine is %s, and kiln's helper is the kiln of this one, for %s", exec.ErrUnsupported, e.arch(), runtime.GOARCH)
	}
	for _, in := range spec.Inputs {
		if slices.ContainsFunc(engineFiles, func(file string) bool { return in.Port == file || nested(file, in.Port) }) {
			return fmt.Errorf("%w: input %s: engines put files of their own there: use another port, or the container runner", exec.ErrUnsupported, in.Port)
		}
	}
	if r := spec.Resources.Requests; r.CPUs > float64(e.info.NCPU) {
		return fmt.Errorf("it requests %v cpus, and the engine's machine has %d", r.CPUs, e.info.NCPU)
	} else if r.Memory > e.info.MemTotal {
		return fmt.Errorf("it requests %d MiB of memory, and the engine's machine has %d", r.Memory>>20, e.info.MemTotal>>20)
	}
	if left := e.unenforced(spec.Resources.Limits); len(left) > 0 && !spec.Resources.BestEffort {
		return fmt.Errorf("%w: the engine does not enforce limits of %s there: it is rootless, or its machine has no control groups for that", exec.ErrUnsupported, strings.Join(left, ", "))
	}
	return nil
}

// unenforced names the limits that the engine says, or is known, to leave out. Whether it
// keeps the others the helper verifies.
func (e *engine) unenforced(l exec.Amounts) (names []string) {
	none := e.info.CgroupDriver == "none" || e.info.CgroupVersion != "2" && e.rootless()
	if l.CPUs > 0 && (none || !e.info.CPUCfsQuota) {
		names = append(names, "cpus")
	}
	if l.Memory > 0 && (none || !e.info.MemoryLimit) {
		names = append(names, "memory")
	}
	if l.PIDs > 0 && (none || !e.info.PidsLimit) {
		names = append(names, "pids")
	}
	return names
}

// rootless reports whether the engine is an ordinary user's. podman does not say so where
// Docker does, but its socket tells.
func (e *engine) rootless() bool {
	owner, err := ownerOf(strings.TrimPrefix(e.DaemonHost(), "unix://"))
	return secured(e.info.SecurityOptions, "rootless") || e.podman && err == nil && owner != 0
}

// secured reports whether an engine names a security option.
func secured(options []string, name string) bool {
	return slices.ContainsFunc(options, func(s string) bool { return s == "name="+name || strings.HasPrefix(s, "name="+name+",") })
}

// local reports whether the engine is reached through a socket of this machine.
func (e *engine) local() bool { return strings.HasPrefix(e.DaemonHost(), "unix:") }

func (e *engine) start(ctx context.Context, name string) error {
	_, err := e.ContainerStart(ctx, name, client.ContainerStartOptions{})
	if err != nil {
		return fmt.Errorf("start the container: %w", err)
	}
	return nil
}

// remove removes a container, and ends what runs in it. That there is none is fine.
func (e *engine) remove(ctx context.Context, name string) error {
	_, err := e.ContainerRemove(ctx, name, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	if err == nil || gone(err) {
		return nil
	}
	return fmt.Errorf("remove the container %s: %w", name, err)
}

// state returns a container as it is; nil if there is none.
func (e *engine) state(ctx context.Context, name string) (*container.State, error) {
	result, err := e.ContainerInspect(ctx, name, client.ContainerInspectOptions{})
	switch {
	case gone(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("ask the engine for the container %s: %w", name, err)
	case result.Container.State == nil:
		return nil, fmt.Errorf("ask the engine for the container %s: it tells no state", name)
	}
	return result.Container.State, nil
}

// settled waits for what the engine has to say of a container that was killed: that its
// memory was used up it may learn a moment after it has learnt of the end. Of one that we
// have ended it is not asked.
func (e *engine) settled(ctx context.Context, name string, state *container.State, ours func() bool) (*container.State, error) {
	for range 5 {
		if state.OOMKilled || state.ExitCode != 128+9 || ours() {
			break
		}
		time.Sleep(100 * time.Millisecond)
		again, err := e.state(ctx, name)
		if err != nil || again == nil {
			return state, err
		}
		state = again
	}
	return state, nil
}

// static says why an executable could not run in a container that holds nothing else.
func static(path string) error {
	f, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("look at the helper %s: %w", path, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return fmt.Errorf("%s cannot be the helper in containers: it is linked to libraries of this machine; build it static: CGO_ENABLED=0, or make build", path)
		}
	}
	return nil
}

// gone reports whether an error says that there is no such container. podman says it in
// its own words of one that is being removed.
func gone(err error) bool {
	return errdefs.IsNotFound(err) || err != nil && strings.Contains(err.Error(), "no such container")
}

// down reports whether an error says that the engine was not there, as while it is
// restarted, rather than that it refused.
func down(err error) bool {
	var refused *net.OpError
	return client.IsErrConnectionFailed(err) || errors.As(err, &refused)
}

func now() time.Time { return time.Now().UTC() }
