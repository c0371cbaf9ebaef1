// Package image tests the formula beside it, which makes a container image.
package image

import (
	"bytes"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/internal/testenv"
)

// TestDocker starts a container of the image under a real Docker Engine: make test-docker.
func TestDocker(t *testing.T) {
	engine := testenv.Docker(t)
	kiln, err := filepath.Abs("../../bin/kiln")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kiln); err != nil {
		t.Fatal("kiln is not built: run make build")
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
	out := run(t, nil, engine[0], engine[1], engine[2], "sh", "-c", `
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
