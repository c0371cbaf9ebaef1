// Package self tests the formula beside it, which builds kiln.
package self

import (
	"bytes"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const root = "../.."

// TestGoSum: the formula reads a copy of go.sum, which make build refreshes.
func TestGoSum(t *testing.T) {
	if !bytes.Equal(read(t, "go.sum"), read(t, root+"/go.sum")) {
		t.Error("examples/self/go.sum is not go.sum: run make build")
	}
}

// TestSelf builds kiln with bin/kiln, then elsewhere with the kiln that came out. It
// takes minutes.
func TestSelf(t *testing.T) {
	if os.Getenv("KILN_TEST_SELF") == "" {
		t.Skip("KILN_TEST_SELF is not set: run make test-self")
	}
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	build := []string{
		"run", "examples/self", "--var", "goroot=" + run(t, here, nil, "go", "env", "GOROOT"),
		"--var", "modcache=" + run(t, here, nil, "go", "env", "GOMODCACHE"),
	}
	out := filepath.Join(t.TempDir(), "out")
	first := run(t, here, freshDirs(t), here+"/bin/kiln", append(build, "-o", "kiln="+out)...)
	if !bytes.Equal(read(t, out+"/kiln"), read(t, here+"/bin/kiln")) {
		t.Error("the formula and make build make different executables: are their flags the same?")
	}
	copied := checkout(t, here)
	if got := run(t, copied, freshDirs(t), out+"/kiln", "run", "examples/hello"); !strings.HasPrefix(got, "greeting = tree:") {
		t.Errorf("hello: %s", got)
	}
	if second := run(t, copied, freshDirs(t), out+"/kiln", build...); second != first {
		t.Errorf("the kiln that was built, in another directory, makes %s, want %s", second, first)
	}
	t.Log(first)
}

// checkout copies what git knows of the tree at here, as it is, to another directory, as
// a checkout with another umask would be.
func checkout(t *testing.T, here string) string {
	dir := filepath.Join(t.TempDir(), "a", "checkout")
	for name := range strings.SplitSeq(run(t, here, nil, "git", "ls-files"), "\n") {
		if info, err := os.Lstat(filepath.Join(here, name)); err != nil || !info.Mode().IsRegular() {
			continue // a link in testdata
		}
		to := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, read(t, filepath.Join(here, name)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func freshDirs(t *testing.T) []string {
	dir := t.TempDir()
	return []string{"KILN_DATA_HOME=" + dir + "/data", "KILN_CACHE_HOME=" + dir + "/cache", "KILN_CONFIG_HOME=" + dir + "/config"}
}

// run returns what a command prints on stdout, without the newline at its end.
func run(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	cmd := osexec.CommandContext(t.Context(), name, args...)
	var stderr bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stderr = dir, append(os.Environ(), env...), &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, stderr.String())
	}
	t.Logf("%s\n%s", cmd, stderr.String())
	return strings.TrimSuffix(string(out), "\n")
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
