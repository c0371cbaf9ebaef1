// Package ocitest makes images for tests, and starts a real registry for them:
// Debian's docker-registry.
package ocitest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"time"
)

// User and Password are those of a registry that is not for everybody.
const (
	User     = "kiln"
	Password = "sesame"
	// bcrypt, the one form the registry reads
	htpasswd = User + ":$2y$05$abcdefghijklmnopqrstuuKcS.CYWVYVaLiiCKrrc0A5s3mGesJ9O\n"
)

// Start starts a registry that keeps its images below dir and returns HOST:PORT. With
// auth it asks for User and Password. The caller calls stop.
func Start(dir string, auth bool) (addr string, stop func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	if auth {
		if err := os.WriteFile(filepath.Join(dir, "htpasswd"), []byte(htpasswd), 0o600); err != nil {
			return "", nil, err
		}
	}
	for range 5 { // another process may take the port first
		if addr, stop, err = start(dir, auth); err == nil {
			return addr, stop, nil
		}
	}
	return "", nil, err
}

func start(dir string, auth bool) (string, func(), error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr := l.Addr().String()
	l.Close()
	config := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"+
		"storage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q}\n", filepath.Join(dir, "images"), addr)
	if auth {
		config += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %q}}\n", filepath.Join(dir, "htpasswd"))
	}
	path := filepath.Join(dir, "config.yml")
	if err := os.WriteFile(path, []byte(config), 0o644); err != nil {
		return "", nil, err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return "", nil, err
	}
	defer log.Close()
	cmd := osexec.Command("docker-registry", "serve", path)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")} // it takes any REGISTRY_… for settings
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	stop := func() {
		cmd.Process.Kill()
		<-ended
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 3000 {
		select {
		case err := <-ended:
			text, _ := os.ReadFile(log.Name())
			return "", nil, fmt.Errorf("docker-registry: %w: %s", err, text)
		case <-tick.C:
		}
		if resp, err := http.Get("http://" + addr + "/v2/"); err == nil {
			resp.Body.Close()
			return addr, stop, nil
		}
	}
	stop()
	return "", nil, fmt.Errorf("docker-registry does not answer at %s", addr)
}
