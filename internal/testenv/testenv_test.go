package testenv

import "testing"

func TestRequired(t *testing.T) {
	t.Setenv("KILN_TEST_REQUIRE", "one,two")
	if !required("one") || !required("two") || required("three") || required("on") {
		t.Error("one and two are required, no others")
	}
}
