// Package rootless is the runner "container": kiln's own rootless containers, as steps
// run in, behind the interface that all runners have. The containers themselves are the
// business of packages exec and exec/container.
package rootless

import (
	"context"
	"errors"
	"fmt"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/local"
	"github.com/kilnbuild/kiln/exec/registry"
	"github.com/kilnbuild/kiln/exec/supervise"
	"github.com/kilnbuild/kiln/warehouse"
)

// Name is the runner's, and the isolation that its records state.
const Name = "container"

// New returns the runner of kiln's own containers; self as in supervise.New.
func New(g *registry.Registry, env *Environment, self []string) *supervise.Runner {
	return supervise.New(Name, g, env, self)
}

// Environment is what containers are made of and with.
type Environment struct {
	Warehouse func() (*warehouse.Local, error) // called when it is needed
	Binaries  func() (container.Binaries, error)
	Version   string
}

// Check implements supervise.Environment: it enters a run's namespaces once.
func (e *Environment) Check(context.Context) error {
	local, err := e.Warehouse()
	if err != nil {
		return err
	}
	defer local.Close()
	return exec.CheckContainers(exec.Options{Warehouse: local, Binaries: e.Binaries})
}

// Accept implements supervise.Environment.
func (e *Environment) Accept(_ context.Context, r *exec.Run) (err error) {
	s := r.Spec
	r.Isolation, r.Offline = Name, exec.OfflineEnforced
	if s.Network {
		r.Offline = exec.OfflineNone
	}
	if s.Image != "" {
		return fmt.Errorf("%w: the container runner makes its roots of wares, not of images: name a ware (--root; kiln ware pack makes one of an image), or use --runner docker",
			exec.ErrUnsupported)
	}
	if err := container.Enough(s.Resources.Requests.CPUs, s.Resources.Requests.Memory); err != nil {
		return fmt.Errorf("%w: %w", exec.ErrUnsupported, err)
	}
	if err := e.mayRunAs(s); err != nil {
		return err
	}
	if err := e.have(s); err != nil {
		return err
	}
	r.Unenforced, err = exec.Enforceable(s.Resources)
	return err
}

// mayRunAs says why a run cannot be of the user that it is to be of.
func (e *Environment) mayRunAs(s exec.JobSpec) error {
	uid, gid, err := s.IDs()
	if err == nil {
		if err = container.HostMapping().MayRunAs(uid, gid); err != nil {
			err = fmt.Errorf("%w: %w", exec.ErrUnsupported, err)
		}
	}
	return err
}

// have says which of a run's wares are not in the warehouse.
func (e *Environment) have(s exec.JobSpec) error {
	local, err := e.Warehouse()
	if err != nil {
		return err
	}
	defer local.Close()
	var errs []error
	if !s.Root.IsZero() && !local.Has(s.Root) {
		errs = append(errs, fmt.Errorf("root: ware %s: %w", s.Root, warehouse.ErrMissing))
	}
	for _, in := range s.Inputs {
		if !local.Has(in.Ware) {
			errs = append(errs, fmt.Errorf("input %s: ware %s: %w", in.Port, in.Ware, warehouse.ErrMissing))
		}
	}
	return errors.Join(errs...)
}

// Carry implements supervise.Environment.
func (e *Environment) Carry(ctx context.Context, j *supervise.Job) exec.End {
	wares, err := e.Warehouse()
	if err != nil {
		return exec.NotRun(exec.ReasonSetup, err.Error())
	}
	defer wares.Close()
	return supervise.EndedBy(ctx, exec.RunJob(ctx, j.Spec, exec.JobOptions{
		Options: exec.Options{Warehouse: wares, Binaries: e.Binaries},
		Stdout:  j.Stdout, Stderr: j.Stderr, Grace: local.Grace,
		Started: func() error { return j.Running(nil) },
		Exited:  func(code, signal int) { j.Exited(code, signal) },
	}))
}

// Sweep implements supervise.Environment: everything in a container ends with the
// process that supervises it, and the next run removes what lies about.
func (e *Environment) Sweep(exec.Run) {}
