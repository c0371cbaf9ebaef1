package docker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/kilnbuild/kiln/exec"
	kiln "github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/container/bundle"
	"github.com/kilnbuild/kiln/exec/function"
)

// Images connects to an engine for function.Image. host and name, of a context, say which
// as Config does.
func Images(ctx context.Context, host, name string) (function.Images, error) {
	e, err := dial(ctx, host, name)
	if err != nil {
		return nil, err
	}
	return images{e}, nil
}

// images are those that an engine has.
type images struct{ *engine }

// Resolve implements function.Images.
func (i images) Resolve(ctx context.Context, ref string) (string, error) {
	result, err := i.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return "", fmt.Errorf("the engine has no such image, and functions download nothing: docker pull %s", ref)
	}
	return result.ID, err
}

// Unenforced implements function.Images.
func (i images) Unenforced(l kiln.Limits) []string { return i.unenforced(amounts(l)) }

func amounts(l kiln.Limits) exec.Amounts {
	return exec.Amounts{CPUs: l.CPUs, Memory: l.Memory, PIDs: l.PIDs}
}

// labelFunction marks the containers of functions.
const labelFunction = "org.kilnbuild.function"

// Create implements function.Images.
func (i images) Create(ctx context.Context, s function.ImageSpec) (function.ImageContainer, []string, error) {
	var id [16]byte
	rand.Read(id[:])
	name := "kiln-function-" + hex.EncodeToString(id[:])
	config := &container.Config{
		Image: s.Image, Entrypoint: s.Command[:1], Cmd: s.Command[1:], WorkingDir: s.Dir, User: fmt.Sprintf("%d:%d", s.UID, s.GID),
		Hostname: bundle.Hostname, Labels: map[string]string{labelFunction: ""}, Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
		OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true, AttachStderr: true,
	}
	for _, v := range s.Env {
		config.Env = append(config.Env, v.Name+"="+v.Value)
	}
	host := guarded(amounts(s.Limits))
	host.ReadonlyRootfs = !s.Writable
	host.Tmpfs = map[string]string{"/tmp": "exec,mode=1777,size=64m"}
	host.LogConfig = container.LogConfig{Type: "none"}
	for _, b := range s.Binds {
		host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeBind, Source: b.Source, Target: b.Port, ReadOnly: true})
	}
	result, err := i.ContainerCreate(ctx, client.ContainerCreateOptions{Name: name, Config: config, HostConfig: host})
	if err != nil {
		return nil, nil, fmt.Errorf("create the container: %w", err)
	}
	return &imageContainer{engine: i.engine, name: name}, result.Warnings, nil
}

// An imageContainer is that of a function.
type imageContainer struct {
	*engine
	name   string
	killed atomic.Bool
	stream client.HijackedResponse
	copied chan error // what it wrote was passed on
	ended  client.ContainerWaitResult
}

// Start implements function.ImageContainer.
func (c *imageContainer) Start(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer) error {
	attached, err := c.ContainerAttach(ctx, c.name, client.ContainerAttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		if cause := c.start(ctx, c.name); cause != nil { // podman prepares it for that, and here says why it cannot
			return cause
		}
		return fmt.Errorf("attach to the container: %w", err)
	}
	c.stream = attached.HijackedResponse
	c.copied = make(chan error, 1)
	c.ended = c.ContainerWait(context.WithoutCancel(ctx), c.name, client.ContainerWaitOptions{Condition: container.WaitConditionNextExit})
	if err := c.start(ctx, c.name); err != nil {
		c.stream.Close()
		return err
	}
	go func() {
		io.Copy(c.stream.Conn, stdin) // an error is that it has ended
		c.stream.CloseWrite()
	}()
	go func() {
		_, err := stdcopy.StdCopy(stdout, stderr, c.stream.Reader)
		if closer, ok := stdout.(io.Closer); ok {
			closer.Close()
		}
		c.copied <- err
	}()
	return nil
}

// Wait implements function.ImageContainer.
func (c *imageContainer) Wait() (code int, oom bool, err error) {
	defer c.stream.Close()
	ctx := context.Background()
	select {
	case <-c.ended.Result:
	case err := <-c.ended.Error:
		return -1, false, fmt.Errorf("the engine let go of the container: %w", err)
	}
	select {
	case <-c.copied:
	case <-time.After(patience):
		return -1, false, errors.New("the engine does not end what it says that the command wrote")
	}
	state, err := c.state(ctx, c.name)
	if err == nil && state == nil {
		err = errors.New("the engine knows nothing of the container any more")
	}
	if err == nil {
		state, err = c.settled(ctx, c.name, state, c.killed.Load)
	}
	if err != nil {
		return -1, false, err
	}
	return state.ExitCode, state.OOMKilled, nil
}

// Kill implements function.ImageContainer.
func (c *imageContainer) Kill(ctx context.Context) error {
	c.killed.Store(true)
	_, err := c.ContainerKill(ctx, c.name, client.ContainerKillOptions{Signal: "KILL"})
	return err
}

// Memory implements function.ImageContainer.
func (c *imageContainer) Memory(ctx context.Context) (sum int64) {
	columns := []string{"-o", "pid,rss"} // of ps
	if c.podman {
		columns = []string{"pid,rss"} // which has no use for an option, and then needs no ps in the image
	}
	top, err := c.ContainerTop(ctx, c.name, client.ContainerTopOptions{Arguments: columns})
	column := slices.Index(top.Titles, "RSS")
	if err != nil || column < 0 {
		return 0
	}
	for _, p := range top.Processes {
		if column < len(p) {
			kib, _ := strconv.ParseInt(strings.TrimSpace(p[column]), 10, 64)
			sum += kib << 10
		}
	}
	return sum
}

// Remove implements function.ImageContainer.
func (c *imageContainer) Remove(ctx context.Context) error { return c.remove(ctx, c.name) }
