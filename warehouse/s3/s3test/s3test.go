// Package s3test starts a real S3 server for tests: versitygw over a directory.
package s3test

import (
	"fmt"
	"net"
	"net/http"
	"os"
	osexec "os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/kilnbuild/kiln/internal/testenv"
)

// Whom the server knows, the region that it says it is in, and its bucket.
const (
	AccessKey = "kiln-access"
	SecretKey = "kiln-secret-sesame"
	Region    = "us-east-1"
	Bucket    = "wares"
)

// A Server keeps buckets in directories below Dir.
type Server struct {
	Dir   string
	Addr  string // HOST:PORT
	flags []string
	cmd   *osexec.Cmd
	done  chan struct{}
}

// Start starts a server on this machine, and ends it with the test. flags are added to
// those of versitygw.
func Start(t testing.TB, flags ...string) *Server {
	t.Helper()
	testenv.Tool(t, "versitygw", "go install github.com/versity/versitygw/cmd/versitygw@v1.8.0")
	s, err := Run(t.TempDir(), flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Kill)
	return s
}

// With starts another server of the same buckets, with other flags.
func (s *Server) With(t testing.TB, flags ...string) *Server {
	t.Helper()
	other, err := Run(s.Dir, flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Kill)
	return other
}

// Run starts a server, which the caller ends with Kill.
func Run(dir string, flags ...string) (*Server, error) {
	s := &Server{Dir: dir, flags: flags}
	err := os.MkdirAll(filepath.Join(dir, "data", Bucket), 0o755)
	if err != nil {
		return nil, err
	}
	for range 5 { // another process may take the port first
		if err = s.start(); err == nil {
			return s, nil
		}
	}
	return nil, err
}

// URL returns that of the bucket, or of a place in it, in the form of package s3.
func (s *Server) URL(prefix string) string {
	return fmt.Sprintf("ca+s3://%s/%s?endpoint=http://%s&region=%s", Bucket, prefix, s.Addr, Region)
}

// Kill ends the server as if the machine had lost its power.
func (s *Server) Kill() {
	s.cmd.Process.Kill()
	<-s.done
}

// Restart starts a server that was killed again, at the same address.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) start() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.Addr = l.Addr().String()
	l.Close()
	return s.run()
}

func (s *Server) run() error {
	log, err := os.CreateTemp(s.Dir, "log-")
	if err != nil {
		return err
	}
	defer log.Close()
	sidecar := filepath.Join(s.Dir, "sidecar") // since not every file system has attributes
	if err := os.MkdirAll(sidecar, 0o755); err != nil {
		return err
	}
	args := append([]string{"--port", s.Addr, "--health", "/health", "--quiet"}, s.flags...)
	s.cmd = osexec.Command("versitygw", append(args, "posix", "--sidecar", sidecar, filepath.Join(s.Dir, "data"))...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.Dir, "ROOT_ACCESS_KEY=" + AccessKey, "ROOT_SECRET_KEY=" + SecretKey, "VGW_REGION=" + Region}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.done = make(chan struct{})
	go func() {
		s.cmd.Wait()
		close(s.done)
	}()
	return s.ready(log.Name())
}

func (s *Server) ready(log string) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 3000 {
		select {
		case <-s.done:
			text, _ := os.ReadFile(log)
			return fmt.Errorf("versitygw ended: %s", text)
		case <-tick.C:
		}
		if resp, err := http.Get("http://" + s.Addr + "/health"); err == nil {
			resp.Body.Close()
			return nil
		}
	}
	s.Kill()
	return fmt.Errorf("versitygw does not answer at %s", s.Addr)
}
