package main

import (
	"github.com/kilnbuild/kiln/internal/embedded"
	"github.com/kilnbuild/kiln/plan"
)

// builtins returns the wares that kiln carries with it, by the name that a formula
// gives them.
func builtins() map[string]plan.Builtin {
	id, err := embedded.ToolboxID()
	runners, runnersErr := embedded.RunnersID()
	return map[string]plan.Builtin{
		"toolbox": {ID: id, Put: embedded.PutToolbox, Err: err},
		"runners": {ID: runners, Put: embedded.PutRunners, Err: runnersErr},
	}
}
