// Package docker runs commands in containers of a Docker Engine, or of podman through the
// same API. Inside them kiln's helper does what package delegate says; this package makes
// the container, loads its image, and takes in what it leaves. The engine owns a run:
// nothing of kiln need be alive for it to go on, and any kiln process can find it again
// by its label.
package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/registry"
	"github.com/kilnbuild/kiln/warehouse"
)

// Name is the runner's, in formulas, flags and run records.
const Name = "docker"

// Config says what a Runner works with.
type Config struct {
	Runs      *registry.Registry
	Warehouse *warehouse.Local
	CacheDir  string // for layers of images
	StateDir  string // for what this user has in engines
	// Host is the address of the engine, such as "unix:///run/podman/podman.sock", and
	// Context the name of one of the docker command's contexts. Without either the engine is
	// the one that the docker command would use, or else podman's.
	Host, Context string
	// Helper is the path of a static kiln; "": the executable of this process.
	Helper string
	// Apart keeps the runner from mounting anything of this machine into containers: wares
	// go in and out through the API.
	Apart bool
}

// A Runner runs commands in an engine's containers. It implements exec.Runner.
type Runner struct {
	Config
	mu     sync.Mutex
	engine *engine // once it has answered
	swept  sync.Once
}

// New returns a Runner. It does not look for the engine yet.
func New(c Config) *Runner { return &Runner{Config: c} }

// Check says why the engine cannot be used, or nil.
func (r *Runner) Check(ctx context.Context) error {
	_, err := r.connect(ctx)
	if err == nil {
		_, err = r.helper()
	}
	return err
}

// connect returns the engine, which is asked once who it is.
func (r *Runner) connect(ctx context.Context) (*engine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.engine != nil {
		return r.engine, nil
	}
	e, err := dial(ctx, r.Host, r.Context)
	if err != nil {
		return nil, err
	}
	r.engine = e
	return e, nil
}

// helper returns the path of the executable that runs in containers.
func (r *Runner) helper() (string, error) {
	path := r.Helper
	if path == "" {
		var err error
		if path, err = os.Executable(); err != nil {
			return "", fmt.Errorf("find kiln's own executable: %w", err)
		}
	}
	if err := static(path); err != nil {
		return "", err
	}
	return filepath.Abs(path)
}

// Labels of containers.
const (
	labelRun  = "kiln.run"  // the run's id
	labelRuns = "kiln.runs" // the registry it is in
	labelName = "kiln.name" // of the run, for people
)

// containerName is that of a run's container: it is known before there is one.
func containerName(id string) string { return "kiln-" + id }

// Submit makes a container for the run and starts it.
func (r *Runner) Submit(ctx context.Context, spec exec.JobSpec) (exec.Run, error) {
	if err := spec.Check(); err != nil {
		return exec.Run{}, err
	}
	e, err := r.connect(ctx)
	if err != nil {
		return exec.Run{}, err
	}
	if err := e.takes(spec); err != nil {
		return exec.Run{}, fmt.Errorf("submit %s: %w", spec.Title(), err)
	}
	helper, err := r.helper()
	if err != nil {
		return exec.Run{}, err
	}
	r.swept.Do(func() { r.sweep(ctx, e) })
	offline := exec.OfflineEnforced
	if spec.Network {
		offline = exec.OfflineNone
	}
	run, hold, err := r.Runs.Create(exec.Run{Runner: Name, Spec: spec, Isolation: Name, Offline: offline, Unenforced: e.unenforced(spec.Resources.Limits)})
	if err != nil {
		return exec.Run{}, err
	}
	defer hold.Close()
	err = r.begin(ctx, e, run, helper)
	var refused *refusal
	if errors.As(err, &refused) {
		return r.giveUp(run.ID, refused.reason, refused.err)
	}
	if err != nil {
		r.giveUp(run.ID, exec.ReasonSetup, err)
		return exec.Run{}, fmt.Errorf("submit %s: %w", spec.Title(), err)
	}
	if err := hold.Release(); err != nil {
		return exec.Run{}, fmt.Errorf("submit %s: %w", spec.Title(), err)
	}
	if r.Runs.CancelRequested(run.ID) {
		return r.Cancel(ctx, run.ID)
	}
	return r.GetRun(ctx, run.ID)
}

// A refusal is an error that makes a run a failed one.
type refusal struct {
	reason exec.RunReason
	err    error
}

func (f *refusal) Error() string { return f.err.Error() }
func (f *refusal) Unwrap() error { return f.err }

// begin makes the container of a run and starts it. After an error there is none.
func (r *Runner) begin(ctx context.Context, e *engine, run exec.Run, helper string) error {
	j := &job{Runner: r, engine: e, run: run, helper: helper, shared: e.shares && !r.Apart}
	defer j.letGo()
	err := j.create(ctx)
	if err != nil && j.shared && notShared(err) {
		e.shares, j.shared = false, false
		err = j.create(ctx)
	}
	if err == nil {
		err = e.start(ctx, containerName(run.ID))
	}
	if err != nil {
		e.remove(context.WithoutCancel(ctx), containerName(run.ID))
		r.removeWork(run.ID)
	}
	return err
}

// giveUp ends a run that never began.
func (r *Runner) giveUp(id string, reason exec.RunReason, err error) (exec.Run, error) {
	return r.Runs.Update(id, func(run *exec.Run) {
		run.Status, run.Reason, run.Message, run.Ended = exec.RunFailed, reason, err.Error(), now()
	})
}

// ListRuns returns the runs of this runner.
func (r *Runner) ListRuns(ctx context.Context, f exec.RunFilter) ([]exec.Run, error) {
	all, err := r.Runs.List(Name, exec.RunFilter{Name: f.Name, Labels: f.Labels, Since: f.Since})
	var runs []exec.Run
	for _, run := range all {
		if !run.Status.Ended() {
			fresh, freshErr := r.GetRun(ctx, run.ID)
			if freshErr == nil {
				run = fresh
			} else if err == nil {
				err = freshErr
			}
		}
		if f.Match(run) {
			runs = append(runs, run)
		}
	}
	return runs, err
}

// workDir is where this machine has what is mounted at a container's /.kiln. It lies in
// the warehouse, so that outputs need not be copied into it.
func (r *Runner) workDir(id string) string {
	return filepath.Join(r.Warehouse.WorkDir(), "docker-"+id)
}

// runsDir is the directory of the registry.
func (r *Runner) runsDir() string { return filepath.Dir(r.Runs.Dir("run")) }

func (r *Runner) removeWork(id string) { warehouse.RemoveTree(r.workDir(id)) }
