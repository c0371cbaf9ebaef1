package main

import "github.com/kilnbuild/kiln/plan"

// builtins returns the wares that kiln carries with it, by the name that a formula
// gives them.
func builtins() (map[string]plan.Builtin, error) {
	return map[string]plan.Builtin{}, nil
}
