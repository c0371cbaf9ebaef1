package kubernetes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/delegate"
	"github.com/kilnbuild/kiln/warehouse"
)

// settle takes the result of a run that has ended, writes its record and deletes what was
// made for it. Where it is interrupted, the next process begins again.
func (k *carrier) settle(ctx context.Context, s state) error {
	k.finishLog(ctx)
	if s.result != nil && !s.result.Ware.IsZero() {
		k.unfold(ctx, &s)
	}
	err := k.fetch(ctx, &s)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		s.RunStatus, s.reason, s.message, s.result = exec.RunFailed, exec.ReasonOutput, err.Error(), nil
	}
	if s.result != nil && k.log != nil {
		k.log.stop() // nothing comes behind what is said of the rest
		<-k.log.done
		lost, err := k.r.Registry.NoteLost(k.run.ID, k.handle.From, s.result.Logged)
		if err != nil {
			return err
		}
		if s.result.Unlogged += lost; lost > 0 && s.message == "" {
			s.message = fmt.Sprintf("%d bytes of its log were lost on the node, which keeps only the newest part of a large one (containerLogMaxSize of its kubelet)", lost)
		}
	}
	if s.exit != nil && s.result != nil && s.result.ExitCode != nil {
		if err := k.r.Registry.WriteExit(k.run.ID, *s.result.ExitCode, s.result.Signal); err != nil {
			return err
		}
	}
	run, err := k.r.Registry.Update(k.run.ID, func(r *exec.Run) { k.record(r, s) })
	if err != nil {
		return err
	}
	k.run = run
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), clearPatience)
	defer stop()
	k.clear(last)
	return nil
}

// clearPatience is how long the deletion of a Job is tried for: another process may do it later.
const clearPatience = 30 * time.Second

// clear deletes the Job of a run that has ended, and then carrierFile: as long as that is
// there, the next process that lists runs tries again.
func (k *carrier) clear(ctx context.Context) error {
	if err := k.c.Delete(ctx, k.handle.job(), false); err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(k.run.Dir, carrierFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// record writes how a run ended.
func (k *carrier) record(r *exec.Run, s state) {
	offline := r.Offline
	if s.result != nil {
		s.result.Apply(r)
		if r.Offline != exec.OfflineEnforced {
			r.Offline = offline
		}
	} else if s.exit != nil {
		if !s.exit.StartedAt.IsZero() {
			r.Started = s.exit.StartedAt.UTC()
		}
		r.Ended = s.exit.FinishedAt.UTC()
	}
	r.Status, r.Reason, r.Message = s.RunStatus, s.reason, s.message
	if r.Status != exec.RunSucceeded {
		r.Outputs = nil
	}
	if r.Reason == exec.ReasonOutOfMemory && s.result == nil && s.exit != nil && s.exit.ExitCode != 0 {
		r.Signal = 9
	}
	if r.Ended.IsZero() {
		r.Ended = time.Now().UTC()
	}
	byOurClock(r, time.Now().UTC())
}

// byOurClock moves the times of a run, which the cluster has told, to between its submission and
// now: the clocks may differ. How long it took stays.
func byOurClock(r *exec.Run, now time.Time) {
	if r.Started.IsZero() || r.Ended.Before(r.Started) { // of two clocks, or of none
		r.Started = time.Time{}
	}
	first := cmp.Or(r.Started, r.Ended)
	var by time.Duration
	if first.Before(r.Created) {
		by = r.Created.Sub(first)
	} else if r.Ended.After(now) {
		by = now.Sub(r.Ended)
	}
	if r.Ended = r.Ended.Add(by); r.Ended.After(now) { // the cluster rounds
		r.Ended = now
	}
	if !r.Started.IsZero() {
		r.Started = r.Started.Add(by)
	}
}

// unfold reads a result that was too large for where results go.
func (k *carrier) unfold(ctx context.Context, s *state) {
	result, err := k.resultWare(ctx, s.result.Ware)
	if err != nil {
		*s = failed(exec.ReasonOutput, "its result, %s: %v", s.result.Ware, err)
		return
	}
	*s = state{exit: s.exit, result: &result, RunStatus: result.Status, reason: result.Reason, message: result.Message}
}

func (k *carrier) resultWare(ctx context.Context, id warehouse.WareID) (delegate.Result, error) {
	store, err := k.r.open(ctx)
	if err != nil {
		return delegate.Result{}, err
	}
	rec, err := store.Get(ctx, id, k.r.Local, warehouse.Transfer{})
	if err != nil {
		return delegate.Result{}, err
	}
	text, err := os.ReadFile(k.r.Local.Fileset(rec))
	if err != nil {
		return delegate.Result{}, err
	}
	return delegate.Decode(text, k.run.ID)
}

// fetch brings the outputs of a run that succeeded into this machine's warehouse, so that
// they can be what others count on.
func (k *carrier) fetch(ctx context.Context, s *state) error {
	if s.RunStatus != exec.RunSucceeded || s.result == nil || len(s.result.Outputs) == 0 {
		return nil
	}
	store, err := k.r.open(ctx)
	if err != nil {
		return err
	}
	for _, name := range sortedNames(s.result.Outputs) {
		id := s.result.Outputs[name]
		if k.r.Local.Has(id) {
			continue
		}
		if _, err := store.Get(ctx, id, k.r.Local, warehouse.Transfer{}); err != nil {
			return fmt.Errorf("output %s: fetch ware %s from %s: %w", name, id, store, err)
		}
	}
	return nil
}
