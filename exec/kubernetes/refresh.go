package kubernetes

import (
	"context"
	"net/url"
	"os"
	"path/filepath"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/kubernetes/api"
)

// refresh brings the record of a run up to date that nobody carries, and with log its log: one
// look, and if it has ended, its end. A run that is carried is up to date.
func (r *Runner) refresh(ctx context.Context, run exec.Run, log bool) error {
	if err := r.foreign(run); err != nil {
		return err
	}
	k, err := r.visit(run)
	if k == nil || err != nil {
		return err
	}
	defer k.lock.Close()
	v, err := k.snapshot(ctx)
	if err != nil {
		return err
	}
	return k.takeIn(ctx, v, log)
}

// visit returns what looks at a run once, or nil if somebody carries it or it has not been
// handed over to the cluster. The caller closes its lock.
func (r *Runner) visit(run exec.Run) (*carrier, error) {
	h, err := handleOf(run)
	if err != nil || r.Registry.Held(run.ID) {
		return nil, nil // its submitter is still at it
	}
	c, err := r.dial()
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	carried := r.carriers[run.ID] != nil
	r.mu.Unlock()
	if carried {
		return nil, nil
	}
	lock, err := lockCarrier(run)
	if lock == nil || err != nil {
		return nil, err
	}
	return &carrier{r: r, c: c, run: run, handle: h, lock: lock}, nil
}

// takeIn brings the record of a run up to date with what there is of it.
func (k *carrier) takeIn(ctx context.Context, v view, log bool) error {
	defer k.closeLog()
	s := k.observe(v)
	if s.Ended() {
		k.follow(ctx, v)
		return k.settle(ctx, s)
	}
	if log {
		if err := k.glance(ctx, v); err != nil {
			return err
		}
	}
	if err := k.note(s); err != nil {
		return err
	}
	return k.endIfAsked(ctx, s)
}

// refreshAll brings the records of runs up to date. However many there are, the server is
// asked once for each kind of object. Of those that have ended it deletes what is left: the
// process that took their results may have died before it could.
func (r *Runner) refreshAll(ctx context.Context, runs []exec.Run) error {
	hubs := map[string]*hub{} // by namespace
	for _, run := range runs {
		if run.Status.Ended() {
			r.tidy(ctx, run)
			continue
		}
		if r.foreign(run) != nil {
			continue
		}
		k, err := r.visit(run)
		if err != nil {
			return err
		}
		if k == nil {
			continue
		}
		h := hubs[k.handle.Namespace]
		if h == nil {
			if h, err = listHub(ctx, k.c, k.handle.Namespace, r.Queue != ""); err == nil {
				hubs[k.handle.Namespace] = h
			}
		}
		if err == nil {
			err = k.glanceAt(ctx, h)
		}
		k.lock.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// glanceAt takes in what a list says of a run. One that is not in it, or has ended, is asked
// about: it may be younger than the list, or two lists may not fit together.
func (k *carrier) glanceAt(ctx context.Context, h *hub) error {
	v, _, err := h.view(k.handle.Job)
	if err == nil && k.observe(v).Ended() {
		v, err = k.snapshot(ctx)
	}
	if err != nil {
		return err
	}
	return k.takeIn(ctx, v, false)
}

// tidy deletes the Job of a run that has ended while carrierFile says that nobody has.
// What it cannot delete goes when its time to live is up.
func (r *Runner) tidy(ctx context.Context, run exec.Run) {
	h, err := handleOf(run)
	if err != nil {
		return
	}
	if _, err := os.Stat(filepath.Join(run.Dir, carrierFile)); err != nil || r.foreign(run) != nil {
		return
	}
	c, err := r.dial()
	if err != nil {
		return
	}
	if lock, err := lockCarrier(run); lock == nil || err != nil {
		return // it is being deleted
	} else {
		defer lock.Close()
	}
	k := carrier{r: r, c: c, run: run, handle: h}
	k.clear(ctx)
}

// snapshot asks the server for all there is of a run.
func (k *carrier) snapshot(ctx context.Context) (view, error) {
	v := view{queued: k.r.Queue != "", ahead: -1}
	ours := url.Values{"labelSelector": {runLabel + "=" + k.run.ID}}
	var pods struct{ Items []api.Pod }
	v, err := k.ask(ctx, v)
	if err != nil || v.job == nil {
		return v, err
	}
	if err := k.c.Get(ctx, k.handle.pods(), ours, &pods); err != nil {
		return v, err
	}
	byUID := map[string]*api.Pod{}
	for i := range pods.Items {
		byUID[pods.Items[i].Metadata.UID] = &pods.Items[i]
	}
	v.pod = newest(byUID)
	if !v.queued {
		return v, nil
	}
	var workloads struct{ Items []api.Workload }
	if err := k.c.Get(ctx, k.handle.workloads(), nil, &workloads); err != nil {
		return v, err
	}
	all := map[string]*api.Workload{}
	for i := range workloads.Items {
		all[workloadsJob(workloads.Items[i])] = &workloads.Items[i]
	}
	if v.workload = all[k.handle.Job]; v.workload != nil {
		if n, ok := rank(all)[v.workload.Metadata.Name]; ok {
			v.ahead = n
		}
	}
	return v, nil
}
