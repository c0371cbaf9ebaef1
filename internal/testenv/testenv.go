// Package testenv says what real components tests may count on.
package testenv

import (
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
