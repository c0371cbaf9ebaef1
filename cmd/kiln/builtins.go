package main

import (
	"errors"

	"github.com/kilnbuild/kiln/internal/embedded"
	"github.com/kilnbuild/kiln/plan"
)

// builtins returns the wares that kiln carries with it, by the name that a formula
// gives them. A kiln built without them has none.
func builtins() (map[string]plan.Builtin, error) {
	id, err := embedded.ToolboxID()
	if errors.Is(err, embedded.ErrNotBuilt) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return map[string]plan.Builtin{"toolbox": {ID: id, Put: embedded.PutToolbox}}, nil
}
