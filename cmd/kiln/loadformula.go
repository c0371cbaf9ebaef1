package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/formula/warpforge"
)

// load loads the formula that the argument and flags name: HCL, as far as it is known
// from what its calls have given, or a document of warpforge's, as its content says.
// Its error prints as diagnostics.
func (f *formulaFlags) load(a *app, results map[string]formula.Result) (*formula.Formula, error) {
	o := formula.LoadOptions{Vars: make(map[string]string), VarFiles: f.varFiles, Env: os.Environ(), Results: results}
	for _, arg := range f.vars {
		name, value, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, withHint(fmt.Errorf("--var %s: want NAME=VALUE", arg), "A variable of the formula is set with --var NAME=VALUE.")
		}
		o.Vars[name] = value
	}
	if file, ok := warpforge.Find(f.path); ok {
		return f.loadWarpforge(a, file)
	}
	loaded, diags := formula.Load(f.path, o)
	if err := a.diagnose(diags, loaded.Sources); err != nil {
		return nil, err
	}
	return loaded, nil
}

// loadWarpforge loads a document of warpforge's, which has no variables.
func (f *formulaFlags) loadWarpforge(a *app, file string) (*formula.Formula, error) {
	if len(f.vars) > 0 || len(f.varFiles) > 0 {
		return nil, fmt.Errorf("--var and --var-file: %s is a warpforge document, which has no variables", file)
	}
	loaded, diags := warpforge.Load(file)
	if err := a.diagnose(diags, loaded.Formula.Sources); err != nil {
		return nil, err
	}
	f.warpforge = loaded
	return loaded.Formula, nil
}
