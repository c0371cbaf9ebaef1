package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/kubernetes/api"
	"github.com/kilnbuild/kiln/warehouse"
)

// A Runner runs commands as Jobs.
type Runner struct {
	Options
	name string
	ctx  context.Context // of everything that goes on in the background
	stop context.CancelFunc

	mu       sync.Mutex
	client   *api.Client
	hubs     map[string]*hub     // by namespace
	carriers map[string]*carrier // by run
	store    warehouse.Store     // the warehouse, from here
	pushed   map[string]*push    // images, by what they are of
	all      sync.WaitGroup

	policyMu sync.Mutex
	policies map[string]bool // by namespace: offline runs have a policy there
}

var _ exec.Runner = (*Runner)(nil)

// New returns the runner of a cluster: kueue's if a queue is named. It reaches for the
// cluster when it is first used.
func New(o Options) (*Runner, error) {
	name := Name
	if o.Queue != "" {
		name = QueueName
	}
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("runner %s: %w", name, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r := &Runner{
		Options: o, name: name, ctx: ctx, stop: stop, hubs: map[string]*hub{}, carriers: map[string]*carrier{},
		policies: map[string]bool{}, pushed: map[string]*push{},
	}
	o.Registry.OnLost(name, r.sweep)
	return r, nil
}

// Close ends what goes on in the background, and waits for the deletion of Jobs whose runs have
// ended; other runs go on in the cluster.
func (r *Runner) Close() error {
	r.stop()
	r.all.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	if r.store != nil {
		errs = append(errs, r.store.Close())
	}
	if r.client != nil {
		errs = append(errs, r.client.Close())
	}
	r.client, r.store = nil, nil
	return errors.Join(errs...)
}

// dial returns the client, which the first caller starts.
func (r *Runner) dial() (*api.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != nil {
		return r.client, nil
	}
	if r.ctx.Err() != nil {
		return nil, fmt.Errorf("the runner %s is closed", r.name)
	}
	c, err := api.Dial(r.Program, api.Where{Kubeconfig: r.Kubeconfig, Context: r.Context, Namespace: r.Namespace})
	if err != nil {
		return nil, fmt.Errorf("%w: set context, or kubeconfig, in the block runner %q of config.hcl", err, r.name)
	}
	r.client = c
	return c, nil
}

// Counts returns what the runner has asked of the API server so far.
func (r *Runner) Counts() api.Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client == nil {
		return api.Counts{}
	}
	return r.client.Counts()
}

// open returns the warehouse as this machine reaches it.
func (r *Runner) open(ctx context.Context) (warehouse.Store, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.store != nil {
		return r.store, nil
	}
	store, err := r.Open(ctx, r.here())
	r.store = store
	return store, err
}

// hub returns what is known of a namespace.
func (r *Runner) hub(c *api.Client, namespace string) *hub {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.hubs[namespace]
	if h == nil || h.failed() != nil {
		h = newHub(r.ctx, c, namespace, r.Queue != "", r.stray)
		r.hubs[namespace] = h
	}
	return h
}

// Check implements exec.Runner.
func (r *Runner) Check(ctx context.Context) error {
	c, err := r.dial()
	if err != nil {
		return err
	}
	h := handle{Namespace: c.Namespace}
	ask := func(what, path string) error {
		if err := c.Try(ctx, path, map[string][]string{"limit": {"1"}}, nil); err != nil {
			return fmt.Errorf("%s of namespace %s at %s: %w", what, c.Namespace, c.Server, err)
		}
		return nil
	}
	if err := ask("list Jobs", h.jobs()); err != nil {
		return err
	}
	if r.Queue == "" {
		return nil
	}
	return ask("look at the queue "+r.Queue, "/apis/kueue.x-k8s.io/v1beta1/namespaces/"+c.Namespace+"/localqueues/"+r.Queue)
}

// own returns a run of this runner.
func (r *Runner) own(run exec.Run, err error) (exec.Run, error) {
	if err == nil && run.Runner != r.name {
		return exec.Run{}, fmt.Errorf("run %s: %w of the runner %s: it is of %s", run.ID, exec.ErrNoRun, r.name, run.Runner)
	}
	return run, err
}

// GetRun implements exec.Runner.
func (r *Runner) GetRun(ctx context.Context, id string) (exec.Run, error) {
	run, err := r.own(r.Registry.Get(id))
	if err != nil || run.Status.Ended() {
		return run, err
	}
	if err := r.refresh(ctx, run, false); err != nil {
		return run, err
	}
	return r.Registry.Get(id)
}

// ListRuns implements exec.Runner. Runs that go on in another cluster are left out. With
// an error come the runs as they were known last.
func (r *Runner) ListRuns(ctx context.Context, f exec.RunFilter) ([]exec.Run, error) {
	all, _ := r.Registry.List(r.name, exec.RunFilter{})
	away := r.refreshAll(ctx, all)
	runs, err := r.Registry.List(r.name, f)
	runs = slices.DeleteFunc(runs, func(run exec.Run) bool { return !run.Status.Ended() && r.foreign(run) != nil })
	return runs, errors.Join(away, err)
}

// Wait implements exec.Runner.
func (r *Runner) Wait(ctx context.Context, id string) (exec.Run, error) {
	for {
		run, err := r.own(r.Registry.Get(id))
		if err != nil || run.Status.Ended() {
			return run, err
		}
		c, err := r.carry(run)
		if err != nil {
			return run, err
		}
		if c == nil { // another process carries it, for as long as it lives
			if run, err := r.elsewhere(ctx, id); err != nil || run.Status.Ended() {
				return run, err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return run, ctx.Err()
		case <-c.done:
			if c.err != nil {
				return run, c.err
			}
		}
	}
}

// elsewhere waits a while for news of a run that another process carries.
func (r *Runner) elsewhere(ctx context.Context, id string) (exec.Run, error) {
	w := r.Registry.Watch(id)
	defer w.Close()
	run, err := r.Registry.Get(id)
	if err != nil || run.Status.Ended() {
		return run, err
	}
	select {
	case <-w.C:
	case <-ctx.Done():
		return run, ctx.Err()
	}
	return r.Registry.Get(id)
}

// Cancel implements exec.Runner.
func (r *Runner) Cancel(ctx context.Context, id string) (exec.Run, error) {
	run, err := r.own(r.Registry.Get(id))
	if err != nil || run.Status.Ended() {
		return run, err
	}
	if err := r.Registry.RequestCancel(id); err != nil {
		return run, err
	}
	if c, err := r.carry(run); err != nil {
		return run, err
	} else if c != nil {
		c.look()
	}
	return r.Wait(ctx, id)
}

// Logs implements exec.Runner. Kubernetes keeps stdout and stderr in one log.
func (r *Runner) Logs(ctx context.Context, id string, follow bool, stdout, stderr io.Writer) error {
	run, err := r.own(r.Registry.Get(id))
	if err != nil {
		return err
	}
	if run.Status.Ended() {
		return r.Registry.Logs(ctx, id, false, stdout, stderr)
	}
	if !follow {
		if err := r.refresh(ctx, run, true); err != nil {
			return err
		}
		return r.Registry.Logs(ctx, id, false, stdout, stderr)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() { // somebody has to carry it meanwhile
		if _, err := r.Wait(ctx, id); err != nil {
			stop(err)
		}
	}()
	if err = r.Registry.Logs(ctx, id, true, stdout, stderr); err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// foreign says that a run is of another cluster than the runner's configuration leads to, or
// returns nil.
func (r *Runner) foreign(run exec.Run) error {
	h, err := handleOf(run)
	if err != nil || h.Server == "" {
		return nil
	}
	c, err := r.dial()
	if err != nil || c.Server == h.Server {
		return err
	}
	return fmt.Errorf("run %s is in the cluster at %s, and the runner %s is now of %s: set context, or kubeconfig, in its block of config.hcl",
		run.ID, h.Server, r.name, c.Server)
}

// stray deletes a Job whose run has ended. It was made by a process that was killed while the
// request was on its way: the run counted as lost, and there was no Job yet to be deleted.
func (r *Runner) stray(j api.Job) {
	run, err := r.Registry.Get(j.Metadata.Labels[runLabel])
	if err == nil && run.Status.Ended() && j.Metadata.DeletionTimestamp.IsZero() {
		r.sweep(run)
	}
}

// sweep deletes the Job of a run whose submitter was killed before it could let go of it.
func (r *Runner) sweep(run exec.Run) {
	h, err := handleOf(run)
	if err != nil {
		return // it had not come so far
	}
	c, err := r.dial()
	if err != nil {
		return
	}
	ctx, stop := context.WithTimeout(r.ctx, time.Minute)
	defer stop()
	c.Delete(ctx, h.job(), false)
}
