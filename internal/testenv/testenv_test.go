package testenv

import "testing"

func TestRequired(t *testing.T) {
	t.Setenv("KILN_TEST_REQUIRE", "one,two")
	if !Required("one") || !Required("two") || Required("three") || Required("on") {
		t.Error("one and two are required, no others")
	}
}
