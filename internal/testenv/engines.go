package testenv

import (
	_ "embed"
	"os"
	osexec "os/exec"
	"path/filepath"
	"testing"
)

//go:embed engines/dockerd.sh
var dockerd []byte

//go:embed engines/podman.sh
var podman []byte

// Docker returns what begins a command that runs beside a Docker Engine of its own, which
// DOCKER_HOST names. Without KILN_TEST_DOCKER the test is skipped; with it the test fails
// where there can be none: make test-docker.
func Docker(t testing.TB) (prefix []string) {
	t.Helper()
	if os.Getenv("KILN_TEST_DOCKER") == "" {
		t.Skip("KILN_TEST_DOCKER is not set: run make test-docker")
	}
	if os.Geteuid() != 0 {
		t.Fatal("starting dockerd needs root")
	}
	return beside(t, dockerd, "docker.io", "dockerd", "docker", "unshare")
}

// Podman is Docker for podman, which runs as whoever the test does: make test-podman.
func Podman(t testing.TB) (prefix []string) {
	t.Helper()
	if os.Getenv("KILN_TEST_PODMAN") == "" && !Required("podman") {
		t.Skip("KILN_TEST_PODMAN is not set: run make test-podman")
	}
	return beside(t, podman, "podman runc", "podman", "runc", "conmon")
}

// beside returns the script that starts an engine, and the file for the engine's log.
func beside(t testing.TB, script []byte, packages string, tools ...string) []string {
	t.Helper()
	for _, tool := range tools {
		if _, err := osexec.LookPath(tool); err != nil {
			t.Fatalf("%s is not installed: apt-get install %s", tool, packages)
		}
	}
	dir, err := os.MkdirTemp("", "engine-") // whose path is short enough for a socket's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	at := filepath.Join(dir, "beside")
	if err := os.WriteFile(at, script, 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{"sh", at, filepath.Join(dir, "log")}
}
