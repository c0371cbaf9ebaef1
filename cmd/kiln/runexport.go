package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/plan"
)

// exportFlags are the flags of kiln run that say where outputs are exported to.
type exportFlags struct {
	outputs   []string // NAME=DEST
	overwrite bool
}

func (f *exportFlags) add(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&f.outputs, "output", "o", nil, "export the output NAME to DEST, `NAME=DEST` (repeatable)")
	flags.BoolVar(&f.overwrite, "overwrite", false, "let -o write over files")
}

// An export is an output that goes to a destination.
type export struct {
	name string
	to   destination
}

// parse reads the flags, and checks that each destination can be written to before
// any step runs.
func (f *exportFlags) parse(run *runFlags) ([]export, error) {
	var exports []export
	for _, arg := range f.outputs {
		name, dest, ok := strings.Cut(arg, "=")
		if !ok || name == "" || dest == "" {
			return nil, fmt.Errorf("option -o %s: want NAME=DEST", arg)
		}
		d, err := parseDestination(dest)
		if err == nil {
			err = d.check(f.overwrite)
		}
		if err == nil && d.stdout() && run.asJSON {
			err = errors.New("standard output takes what --json prints or an archive, not both")
		}
		if err != nil {
			return nil, fmt.Errorf("option -o %s: %w", name, err)
		}
		for _, e := range exports {
			if e.to.path == d.path && d.path != "" {
				return nil, fmt.Errorf("option -o %s: the output %s goes to %s already", name, e.name, dest)
			}
		}
		exports = append(exports, export{name, d})
	}
	return exports, nil
}

// checkExports refuses exports that the steps to be run cannot give.
func checkExports(p *plan.Plan, steps []*plan.Step, exports []export) error {
	for _, e := range exports {
		i := slices.IndexFunc(p.Formula.Outputs, func(o *formula.Output) bool { return o.Name == e.name })
		if i < 0 {
			var names []string
			for _, o := range p.Formula.Outputs {
				names = append(names, o.Name)
			}
			return withHint(fmt.Errorf("option -o %s: the formula has no output of this name", e.name),
				"Its outputs: "+strings.Join(names, ", "))
		}
		from := p.Formula.Outputs[i].From
		if from.Step != "" && !slices.ContainsFunc(steps, func(st *plan.Step) bool { return st.Addr == from.Step }) {
			return fmt.Errorf("option -o %s: none of the steps that -t selects makes it", e.name)
		}
	}
	return nil
}

func (a *app) exportOutputs(ctx context.Context, s *session, r exec.Result, exports []export, f *exportFlags, tale *story) error {
	for _, e := range exports {
		id, ok := r.Outputs[e.name]
		if !ok {
			return fmt.Errorf("export %s: the steps selected do not make it", e.name)
		}
		x := a.newExporter(s.wares)
		x.overwrite = f.overwrite
		var end func()
		x.progress, end = tale.exporting(e.name)
		err := x.export(ctx, id, &e.to)
		end()
		if err != nil {
			return wareError(fmt.Errorf("output %s: %w", e.name, err))
		}
	}
	return nil
}

// outputsTo is where the outputs' ids are printed: on stdout, unless an archive went
// there.
func (a *app) outputsTo(exports []export) io.Writer {
	for _, e := range exports {
		if e.to.stdout() {
			return a.stderr
		}
	}
	return a.stdout
}
