package docker

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/moby/moby/client"
	"golang.org/x/sys/unix"
)

// A place is where an engine is, and what it takes to be let in.
type place struct {
	host     string
	tls      string // directory with ca.pem, cert.pem and key.pem; "": none
	env      bool   // as the docker command's variables say
	podman   bool
	fallback bool // nobody named it
}

// find decides which engine is meant, as the docker command does: by what was asked for,
// DOCKER_HOST, DOCKER_CONTEXT, the current context of its configuration, the default
// socket; and where there is none, podman's.
func find(host, name string) (place, error) {
	if host != "" {
		return place{host: host, tls: os.Getenv("DOCKER_CERT_PATH"), podman: strings.Contains(host, "podman")}.checked()
	}
	if name == "" && os.Getenv(client.EnvOverrideHost) != "" {
		return place{host: os.Getenv(client.EnvOverrideHost), env: true, podman: strings.Contains(os.Getenv(client.EnvOverrideHost), "podman")}.checked()
	}
	dir := os.Getenv("DOCKER_CONFIG")
	if home, err := os.UserHomeDir(); dir == "" && err == nil {
		dir = filepath.Join(home, ".docker")
	}
	if name == "" {
		name = os.Getenv("DOCKER_CONTEXT")
	}
	if name == "" {
		name = currentContext(dir)
	}
	if name != "" && name != "default" {
		return fromContext(dir, name)
	}
	for _, p := range usual() {
		if f, err := os.Stat(strings.TrimPrefix(p.host, "unix://")); err == nil && f.Mode()&fs.ModeSocket != 0 && unix.Access(strings.TrimPrefix(p.host, "unix://"), unix.W_OK) == nil {
			return p, nil
		}
	}
	return place{host: client.DefaultDockerHost, fallback: true}, nil
}

// usual are the places where engines are, the first first.
func usual() []place {
	return []place{
		{host: client.DefaultDockerHost},
		{host: userSocket("docker.sock")},
		{host: userSocket("podman/podman.sock"), podman: true},
		{host: "unix:///run/podman/podman.sock", podman: true},
	}
}

// userSocket is the address of a socket in this user's runtime directory.
func userSocket(name string) string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = "/run/user/" + strconv.Itoa(os.Getuid())
	}
	return "unix://" + filepath.Join(dir, name)
}

// currentContext returns the context that the docker command's configuration names.
func currentContext(dir string) string {
	var config struct{ CurrentContext string }
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil || json.Unmarshal(text, &config) != nil {
		return ""
	}
	return config.CurrentContext
}

// fromContext reads one of the docker command's contexts: files in a directory whose name is
// the hash of the context's.
func fromContext(dir, name string) (place, error) {
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	text, err := os.ReadFile(filepath.Join(dir, "contexts", "meta", id, "meta.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return place{}, fmt.Errorf("there is no context %q in %s: docker context ls lists them", name, dir)
	}
	if err != nil {
		return place{}, fmt.Errorf("read context %q: %w", name, err)
	}
	var meta struct {
		Endpoints map[string]struct{ Host string }
	}
	if err := json.Unmarshal(text, &meta); err != nil {
		return place{}, fmt.Errorf("read context %q: %w", name, err)
	}
	p := place{host: meta.Endpoints["docker"].Host}
	if p.host == "" {
		return place{}, fmt.Errorf("context %q names no engine", name)
	}
	tls := filepath.Join(dir, "contexts", "tls", id, "docker")
	if _, err := os.Stat(tls); err == nil {
		p.tls = tls
	}
	return p.checked()
}

// checked refuses addresses of a kind that kiln cannot connect to.
func (p place) checked() (place, error) {
	if strings.HasPrefix(p.host, "ssh://") {
		return p, fmt.Errorf("%s: kiln does not connect through ssh: forward the socket (ssh -L /tmp/docker.sock:/var/run/docker.sock HOST) and use unix:///tmp/docker.sock", p.host)
	}
	return p, nil
}

// client returns a client for the place. It has not connected yet.
func (p place) client() (*client.Client, error) {
	if p.env {
		return client.New(client.FromEnv)
	}
	opts := []client.Opt{client.WithHost(p.host)}
	if p.tls != "" && !strings.HasPrefix(p.host, "unix:") {
		file := func(name string) string {
			at := filepath.Join(p.tls, name)
			if _, err := os.Stat(at); err != nil {
				return ""
			}
			return at
		}
		opts = append(opts, client.WithTLSClientConfig(file("ca.pem"), file("cert.pem"), file("key.pem")))
	}
	return client.New(opts...)
}
