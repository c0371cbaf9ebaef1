package docker_test

import (
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/exec/docker"
)

// TestImagesWithoutEngine: there is nothing to connect to, and the error says where it was
// looked for.
func TestImagesWithoutEngine(t *testing.T) {
	if _, err := docker.Images(t.Context(), "unix:///nothing/docker.sock", ""); err == nil || !strings.Contains(err.Error(), "/nothing/docker.sock") {
		t.Error(err)
	}
	if _, err := docker.Images(t.Context(), "ssh://me@elsewhere", ""); err == nil || !strings.Contains(err.Error(), "forward the socket") {
		t.Error(err)
	}
}
