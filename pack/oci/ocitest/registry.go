// Package ocitest makes images for tests, and starts a real registry for them:
// Debian's docker-registry.
package ocitest

import (
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"

	"github.com/kilnbuild/kiln/internal/testenv"
)

// User and Password are those of a registry that is not for everybody.
const (
	User     = "kiln"
	Password = "sesame"
	// bcrypt, the one form the registry reads
	htpasswd = User + ":$2y$05$abcdefghijklmnopqrstuuKcS.CYWVYVaLiiCKrrc0A5s3mGesJ9O\n"
)

// Start starts a registry that keeps its images below dir. With auth it asks for User and
// Password. The caller calls Kill.
func Start(dir string, auth bool) (*testenv.Server, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	list := filepath.Join(dir, "htpasswd")
	if err := os.WriteFile(list, []byte(htpasswd), 0o600); err != nil {
		return nil, err
	}
	config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"+
		"storage: {filesystem: {rootdirectory: %q}}\n", filepath.Join(dir, "images"))
	if auth {
		config += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", list)
	}
	path := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		return nil, err
	}
	return testenv.Serve("/v2/", func(addr string) *osexec.Cmd {
		cmd := osexec.Command("docker-registry", "serve", path)
		// It takes any REGISTRY_… for settings. Clients go on only with uploads of one secret.
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "REGISTRY_HTTP_ADDR=" + addr, "REGISTRY_HTTP_SECRET=" + Password}
		return cmd
	})
}
