package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/kilnbuild/kiln/formula"
)

// load loads the formula that the argument and flags name. Its error prints as
// diagnostics.
func (f *formulaFlags) load(a *app) (*formula.Formula, error) {
	o := formula.LoadOptions{Vars: make(map[string]string), VarFiles: f.varFiles, Env: os.Environ()}
	for _, arg := range f.vars {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, withHint(fmt.Errorf("--var %s: want NAME=VALUE", arg), "A variable of the formula is set with --var NAME=VALUE.")
		}
		o.Vars[name] = value
	}
	loaded, diags := formula.Load(f.path, o)
	if err := a.diagnose(diags, loaded.Sources); err != nil {
		return nil, err
	}
	return loaded, nil
}
