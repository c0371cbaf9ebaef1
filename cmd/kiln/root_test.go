package main

import (
	"io"
	"testing"
)

// TestVerbs: a verb is found by the name that its command has.
func TestVerbs(t *testing.T) {
	a := &app{stdout: io.Discard, stderr: io.Discard}
	for _, v := range verbs {
		if name := v.cmd(a).Name(); name != v.name {
			t.Errorf("the command of verb %q is %q", v.name, name)
		}
		if made := newRootCmd(a, v.name, "x").Commands(); len(made) != 1 || made[0].Name() != v.name {
			t.Errorf("kiln %s makes %d commands, want that one", v.name, len(made))
		}
	}
	for _, args := range [][]string{nil, {"--help"}, {"--color", "never", "run"}, {"help", "run"}, {"rnu"}} {
		if made := newRootCmd(a, args...).Commands(); len(made) != len(verbs) {
			t.Errorf("kiln %v makes %d commands, want all", args, len(made))
		}
	}
}
