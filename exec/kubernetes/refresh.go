package kubernetes

import (
	"context"
	"net/url"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/kubernetes/api"
)

// refresh brings the record of a run up to date that nobody carries: one look, and if it has
// ended, its end. A run that is carried is up to date.
func (r *Runner) refresh(ctx context.Context, run exec.Run) error {
	h, err := handleOf(run)
	if err != nil {
		return nil // its submitter is still at it
	}
	c, err := r.dial()
	if err != nil {
		return err
	}
	r.mu.Lock()
	carried := r.carriers[run.ID] != nil
	r.mu.Unlock()
	if carried {
		return nil
	}
	lock, err := lockCarrier(run)
	if lock == nil || err != nil {
		return err
	}
	defer lock.Close()
	k := &carrier{r: r, c: c, run: run, handle: h, lock: lock}
	v, err := k.snapshot(ctx)
	if err != nil {
		return err
	}
	defer k.closeLog()
	s := k.observe(v)
	if s.Ended() {
		k.follow(ctx, v)
		return k.settle(ctx, s)
	}
	if err := k.glance(ctx, v); err != nil {
		return err
	}
	if err := k.note(s); err != nil {
		return err
	}
	return k.endIfAsked(ctx, s)
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
	path := "/apis/kueue.x-k8s.io/v1beta1/namespaces/" + k.handle.Namespace + "/workloads"
	if err := k.c.Get(ctx, path, nil, &workloads); err != nil {
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
