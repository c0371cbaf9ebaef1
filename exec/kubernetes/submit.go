package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/kubernetes/api"
	"github.com/kilnbuild/kiln/warehouse"
)

// Submit implements exec.Runner. When it returns, the cluster has everything the run needs.
func (r *Runner) Submit(ctx context.Context, spec exec.JobSpec) (exec.Run, error) {
	if err := errors.Join(spec.Check(), ctx.Err()); err != nil {
		return exec.Run{}, err
	}
	run := exec.Run{Runner: r.name, Spec: spec}
	if err := r.accept(&run); err != nil {
		return exec.Run{}, fmt.Errorf("submit %s: %w", spec.Title(), err)
	}
	c, err := r.dial()
	if err != nil {
		return exec.Run{}, fmt.Errorf("submit %s: %w", spec.Title(), err)
	}
	run, hold, err := r.Registry.Create(run)
	if err != nil {
		return exec.Run{}, err
	}
	run, err = r.submit(ctx, c, run)
	if err != nil {
		r.sweep(run) // the answer may have been lost, and not the request
		r.Registry.Update(run.ID, exec.NotRun(exec.ReasonSetup, err.Error()).Settle)
		hold.Close()
		return exec.Run{}, fmt.Errorf("submit %s: %w", spec.Title(), err)
	}
	if err := hold.Release(); err != nil {
		return run, fmt.Errorf("submit %s: %w", spec.Title(), err)
	}
	_, err = r.carry(run)
	return run, err
}

// submit brings what the run needs to where pods find it, and makes the Job.
func (r *Runner) submit(ctx context.Context, c *api.Client, run exec.Run) (exec.Run, error) {
	if err := r.bring(ctx, run.Spec); err != nil {
		return run, err
	}
	j := job{config: &r.Config, handle: handle{Server: c.Server, Namespace: c.Namespace, Job: jobName(run.ID)}}
	var err error
	if j.image, j.helper, err = r.images(ctx, run.Spec); err != nil {
		return run, err
	}
	if !run.Spec.Network {
		if j.handle.Policy, err = r.policy(ctx, c); err != nil {
			return run, err
		}
	}
	// The record knows of the Job before there is one: whoever finds it lost can delete it.
	updated, err := r.Registry.Update(run.ID, func(u *exec.Run) {
		u.Handle = j.handle.text()
		if j.handle.Policy {
			u.Offline = exec.OfflinePolicy
		}
	})
	if err != nil {
		return run, err
	}
	j.Run = updated
	if j.payload, err = r.payloadOf(j.Run); err != nil {
		return run, err
	}
	return j.Run, create(ctx, c, j)
}

// create makes the Job, and what goes with it. What is there already was made by a request
// whose answer was lost.
func create(ctx context.Context, c *api.Client, j job) error {
	var made api.Job
	err := c.Create(ctx, j.handle.jobs(), j.manifest(), &made)
	if api.Is(err, http.StatusConflict) {
		err = c.Get(ctx, j.handle.job(), nil, &made)
	}
	if err != nil {
		return fmt.Errorf("create Job %s: %w", j.handle.Job, err)
	}
	if len(j.payload) <= maxInline {
		return nil
	}
	err = c.Create(ctx, j.handle.maps(), j.configMap(made.Metadata.UID), nil)
	if err != nil && !api.Is(err, http.StatusConflict) {
		c.Delete(context.WithoutCancel(ctx), j.handle.job(), false)
		return fmt.Errorf("create ConfigMap %s: %w", j.handle.Job, err)
	}
	return nil
}

// bring sees to it that the warehouse of the cluster has the inputs.
func (r *Runner) bring(ctx context.Context, spec exec.JobSpec) error {
	var ids []warehouse.WareID
	for _, in := range spec.Inputs {
		ids = append(ids, in.Ware)
	}
	if len(ids) == 0 {
		return nil
	}
	store, err := r.open(ctx)
	if err != nil {
		return err
	}
	there, err := store.Has(ctx, ids)
	if err != nil {
		return fmt.Errorf("look for inputs in %s: %w", store, err)
	}
	for i, id := range ids {
		if there[i] {
			continue
		}
		rec, err := r.Local.Get(id)
		if err != nil {
			return fmt.Errorf("input %s: ware %s: %w", spec.Inputs[i].Port, id, err)
		}
		if err := store.Put(ctx, rec, r.Local, warehouse.Transfer{}); err != nil {
			return fmt.Errorf("input %s: put ware %s into %s: %w", spec.Inputs[i].Port, id, store, err)
		}
	}
	return nil
}
