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
	"github.com/kilnbuild/kiln/pack/image"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
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
		if err == nil && d.kind == toRegistry && run.offline {
			err = fmt.Errorf("pushing to %s needs the network, which --offline forbids", d.ref)
		}
		if err != nil {
			return nil, fmt.Errorf("option -o %s: %w", name, err)
		}
		for _, e := range exports {
			if e.to.path == d.path && e.to.ref == d.ref {
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
		o := outputOf(p, e.name)
		if o == nil {
			var names []string
			for _, o := range p.Formula.Outputs {
				names = append(names, o.Name)
			}
			return withHint(fmt.Errorf("option -o %s: the formula has no output of this name", e.name),
				"Its outputs: "+strings.Join(names, ", "))
		}
		for _, ref := range e.refs(o) {
			if ref.Step != "" && !slices.ContainsFunc(steps, func(st *plan.Step) bool { return st.Addr == ref.Step }) {
				return fmt.Errorf("option -o %s: none of the steps that -t selects makes it", e.name)
			}
		}
	}
	return nil
}

func outputOf(p *plan.Plan, name string) *formula.Output {
	for _, o := range p.Formula.Outputs {
		if o.Name == name {
			return o
		}
	}
	return nil
}

// refs are what has to be there for the output o to be exported.
func (e *export) refs(o *formula.Output) []formula.Ref {
	if !e.to.isImage() || o.Image == nil || len(o.Image.Layers) == 0 {
		return []formula.Ref{o.From}
	}
	var refs []formula.Ref
	for _, l := range o.Image.Layers {
		refs = append(refs, l.From)
	}
	return refs
}

// exportOutputs exports outputs of a run, and returns the ids of the images made, by
// output.
func (a *app) exportOutputs(ctx context.Context, s *session, r exec.Result, exports []export, f *exportFlags, tale *story) (map[string]warehouse.WareID, error) {
	images := map[string]warehouse.WareID{}
	for _, e := range exports {
		if err := a.exportOutput(ctx, s, r, &e, f, tale, images); err != nil {
			return images, wareError(fmt.Errorf("output %s: %w", e.name, err))
		}
	}
	return images, nil
}

func (a *app) exportOutput(ctx context.Context, s *session, r exec.Result, e *export, f *exportFlags, tale *story, images map[string]warehouse.WareID) error {
	x, err := a.newExporter(s.wares)
	if err != nil {
		return err
	}
	made := func(ref formula.Ref) (warehouse.WareID, error) {
		id, ok := s.plan.Wares[ref.Ware]
		if ref.Step != "" {
			id, ok = r.Steps[ref.Step][ref.Output]
		}
		if !ok {
			return id, fmt.Errorf("%s was not made", ref)
		}
		return id, nil
	}
	o := outputOf(s.plan, e.name)
	x.spec, err = imageSpec(o, made)
	if err != nil && e.to.isImage() {
		return err
	}
	id, err := made(o.From)
	if err != nil && !e.to.isImage() {
		return err
	}
	x.overwrite = f.overwrite
	var end func()
	x.progress, end = tale.exporting(e.name)
	defer end()
	digest, err := x.export(ctx, id, &e.to)
	if err == nil && e.to.isImage() {
		images[e.name] = digest
	}
	return err
}

// imageSpec says what image an output is to become; made finds wares.
func imageSpec(o *formula.Output, made func(formula.Ref) (warehouse.WareID, error)) (*image.Spec, error) {
	img := o.Image
	if img == nil {
		return nil, nil
	}
	s := &image.Spec{Platform: img.Platform}
	layers := img.Layers
	if len(layers) == 0 {
		layers = []formula.ImageLayer{{From: o.From, Path: "/"}}
	}
	for _, l := range layers {
		id, err := made(l.From)
		if err != nil {
			return nil, err
		}
		s.Layers = append(s.Layers, image.Layer{Ware: id, Path: l.Path})
	}
	c := &s.Config
	c.Entrypoint, c.Cmd, c.Labels = img.Entrypoint, img.Cmd, img.Labels
	c.User, c.WorkingDir, c.StopSignal = img.User, img.Workdir, img.StopSignal
	for _, v := range img.Env {
		c.Env = append(c.Env, v.Name+"="+v.Value)
	}
	for _, port := range img.Expose {
		if c.ExposedPorts == nil {
			c.ExposedPorts = map[string]struct{}{}
		}
		c.ExposedPorts[port] = struct{}{}
	}
	return s, nil
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
