package docker_test

import (
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/exec/docker"
)

// TestImagesWithoutEngine: there is nothing to connect to, and the error says where it was
// looked for.
func TestImagesWithoutEngine(t *testing.T) {
	const want = "the engine at unix:///nothing/docker.sock does not answer: connect: no such file or directory: is it running?"
	if _, err := docker.Images(t.Context(), "unix:///nothing/docker.sock", ""); err == nil || !strings.HasPrefix(err.Error(), want) || !refused(err) {
		t.Error(err)
	}
	if _, err := docker.Images(t.Context(), "ssh://me@elsewhere", ""); err == nil || !strings.Contains(err.Error(), "forward the socket") {
		t.Error(err)
	}
}

// TestNoEngineNamed: the error names all the places where one was looked for.
func TestNoEngineNamed(t *testing.T) {
	for _, at := range []string{"/var/run/docker.sock", "/run/podman/podman.sock"} {
		if _, err := os.Stat(at); err == nil {
			t.Skip("there is an engine at ", at)
		}
	}
	for _, name := range []string{"DOCKER_HOST", "DOCKER_CONTEXT", "HOME"} {
		t.Setenv(name, "")
	}
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	t.Setenv("XDG_RUNTIME_DIR", "/nowhere")
	_, err := docker.Images(t.Context(), "", "")
	const want = "there is no engine at /var/run/docker.sock, /nowhere/docker.sock, /nowhere/podman/podman.sock, /run/podman/podman.sock: start one"
	if err == nil || !strings.HasPrefix(err.Error(), want) || !refused(err) {
		t.Error(err)
	}
}

// refused reports whether err tells of a connection that nobody took, as while an engine is
// restarted: then it is worth waiting for.
func refused(err error) bool {
	var refused *net.OpError
	return errors.As(err, &refused)
}
