// Package image tests the formula beside it, which makes a container image.
package image

import (
	"bytes"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocker starts a container of the image under a real Docker Engine. Where
// KILN_TEST_DOCKER is set, it does not skip: make test-docker.
func TestDocker(t *testing.T) {
	skip := t.Skipf
	if os.Getenv("KILN_TEST_DOCKER") != "" {
		skip = t.Fatalf
	}
	if os.Geteuid() != 0 {
		skip("starting dockerd needs root")
	}
	for _, tool := range []string{"dockerd", "docker", "unshare"} {
		if _, err := osexec.LookPath(tool); err != nil {
			skip("%s is not installed", tool)
		}
	}
	kiln, err := filepath.Abs("../../bin/kiln")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kiln); err != nil {
		skip("kiln is not built: run make build")
	}
	if os.Getenv("KILN_TEST_DOCKER") == "" {
		t.Skip("KILN_TEST_DOCKER is not set: run make test-docker")
	}
	d := t.TempDir()
	env := []string{"KILN_DATA_HOME=" + d + "/data", "KILN_CACHE_HOME=" + d + "/cache", "KILN_CONFIG_HOME=" + d + "/config"}
	formula, err := os.ReadFile("kiln.hcl")
	if err == nil {
		err = os.WriteFile(d+"/kiln.hcl", formula, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	first := run(t, env, kiln, "run", d, "-o", "hello=docker-archive:"+d+"/hello.tar:hello:1")
	again := run(t, env, kiln, "run", d, "-o", "hello=docker-archive:"+d+"/again.tar:hello:1")
	if first != again {
		t.Errorf("first %s, then %s", first, again)
	}
	out := run(t, nil, "testdata/dockerd.sh", d+"/dockerd.log", "sh", "-c", `
		docker load -q -i "$0/hello.tar" &&
		docker run --rm --network none hello:1 &&
		docker run --rm --network none --entrypoint sh hello:1 -c 'id -u; id -g; pwd; echo $GREETED; echo ok | tr a-z A-Z; ls -ld /srv/hello | cut -c1-10' &&
		docker image inspect -f '{{index .Config.Labels "org.opencontainers.image.title"}} {{.Created}} {{len .RootFS.Layers}}' hello:1 &&
		docker load -q -i "$0/again.tar" && docker image ls -q | wc -l`, d)
	want := "Loaded image: hello:1\nhello, world\n1000\n1000\n/srv/hello\nworld\nOK\ndrwxr-xr-x\nhello 2010-01-01T00:00:00Z 2\nLoaded image: hello:1\n1"
	if out != want {
		t.Errorf("got\n%s\nwant\n%s", out, want)
	}
}

// run returns what a command prints on stdout, without the newline at its end.
func run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	cmd := osexec.CommandContext(t.Context(), name, args...)
	var stderr bytes.Buffer
	cmd.Env, cmd.Stderr = append(os.Environ(), env...), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, out, stderr.String())
	}
	return strings.TrimSuffix(string(out), "\n")
}
