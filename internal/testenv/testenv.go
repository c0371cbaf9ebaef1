// Package testenv says what real components tests may count on.
package testenv

import (
	"fmt"
	"os"
	osexec "os/exec"
	"slices"
	"strings"
	"testing"
)

// Missing ends a test that needs a component which is not there: it is skipped, with
// how to come by it, or fails where the environment variable KILN_TEST_REQUIRE, a list
// with commas, names the component.
func Missing(t testing.TB, component, how string) {
	t.Helper()
	if Required(component) {
		t.Fatalf("%s is missing, which KILN_TEST_REQUIRE names: %s", component, how)
	}
	t.Skipf("%s is missing: %s", component, how)
}

// Required reports whether KILN_TEST_REQUIRE names a component.
func Required(component string) bool {
	return slices.Contains(strings.Split(os.Getenv("KILN_TEST_REQUIRE"), ","), component)
}

// Tool returns the path of a program, which is a component, or ends the test.
func Tool(t testing.TB, name, how string) string {
	t.Helper()
	path, err := osexec.LookPath(name)
	if err != nil {
		Missing(t, name, how)
	}
	return path
}

// BuildKiln builds kiln at path as make build does, with the same flags, so that after it
// there is little left to do.
func BuildKiln(path string) error {
	build := osexec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, "github.com/kilnbuild/kiln/cmd/kiln")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build kiln: %w: %s", err, out)
	}
	return nil
}
