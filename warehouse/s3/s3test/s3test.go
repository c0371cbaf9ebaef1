// Package s3test starts a real S3 server for tests: versitygw over a directory.
package s3test

import (
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"testing"

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
	*testenv.Server
	Dir string
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
	data, sidecar := filepath.Join(dir, "data"), filepath.Join(dir, "sidecar") // since not every file system has attributes
	for _, dir := range []string{filepath.Join(data, Bucket), sidecar} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	s, err := testenv.Serve("/health", func(addr string) *osexec.Cmd {
		args := append([]string{"--port", addr, "--health", "/health", "--quiet"}, flags...)
		cmd := osexec.Command("versitygw", append(args, "posix", "--sidecar", sidecar, data)...)
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "ROOT_ACCESS_KEY=" + AccessKey, "ROOT_SECRET_KEY=" + SecretKey, "VGW_REGION=" + Region}
		return cmd
	})
	return &Server{s, dir}, err
}

// URL returns that of the bucket, or of a place in it, in the form of package s3.
func (s *Server) URL(prefix string) string {
	return fmt.Sprintf("ca+s3://%s/%s?endpoint=http://%s&region=%s", Bucket, prefix, s.Addr, Region)
}
