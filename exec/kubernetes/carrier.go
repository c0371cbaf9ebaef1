package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/kubernetes/api"
)

// A carrier keeps the record and the log of a run up to date until it has ended, and then
// takes its result. Of all processes one carries a run at a time: the one that has locked
// the file "carrier" in its directory.
type carrier struct {
	r      *Runner
	c      *api.Client
	hub    *hub
	run    exec.Run
	handle handle
	lock   *os.File
	poke   chan struct{} // somebody wants it looked at
	done   chan struct{} // closed at the end
	err    error         // why it has ended although the run has not; read after done

	log   *logCopy
	seen  bool     // the Job has been there
	pod   *api.Pod // as it was last; nil: none
	began time.Time
	why   ending    // why it is being ended; zero: it is not
	bad   time.Time // since when it is as it cannot stay; zero: it is not
}

// An ending is why kiln ends a run.
type ending struct {
	exec.RunStatus
	reason  exec.RunReason
	message string
}

// carrierFile is locked by who carries the run.
const carrierFile = "carrier"

// lookEvery is how often a carrier looks at what nobody tells it: whether somebody wants the
// run ended, its place in the queue, and a Job that the watch may have missed.
const lookEvery = 500 * time.Millisecond

// watchLag is how much later than the answer to its creation a watch may tell of a Job.
const watchLag = 2 * time.Second

// carry returns what carries a run in this process, started if need be, or nil if another
// process does.
func (r *Runner) carry(run exec.Run) (*carrier, error) {
	c, err := r.dial()
	if err != nil {
		return nil, err
	}
	h, err := handleOf(run)
	if err != nil || r.Registry.Held(run.ID) {
		return nil, nil // its submitter has not come so far yet
	}
	if err := r.foreign(run); err != nil {
		return nil, err
	}
	hub := r.hub(c, h.Namespace)
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.carriers[run.ID]; k != nil {
		return k, nil
	}
	lock, err := lockCarrier(run)
	if lock == nil || err != nil {
		return nil, err
	}
	k := &carrier{
		r: r, c: c, hub: hub, run: run, handle: h, lock: lock, began: time.Now(),
		poke: make(chan struct{}, 1), done: make(chan struct{}),
	}
	r.carriers[run.ID] = k
	r.all.Go(func() {
		k.err = k.carry(r.ctx)
		r.mu.Lock()
		delete(r.carriers, run.ID)
		r.mu.Unlock()
		lock.Close()
		close(k.done)
	})
	return k, nil
}

// lockCarrier returns nil if another process carries the run, or it is gone.
func lockCarrier(run exec.Run) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(run.Dir, carrierFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("carry run %s: %w", run.ID, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, nil
		}
		return nil, fmt.Errorf("carry run %s: %w", run.ID, err)
	}
	return f, nil
}

// look has the carrier look at the run at once.
func (k *carrier) look() {
	select {
	case k.poke <- struct{}{}:
	default:
	}
}

// carry goes on until the run has ended, or ctx has.
func (k *carrier) carry(ctx context.Context) error {
	news := k.hub.watch(k.handle.Job)
	defer k.hub.unwatch(k.handle.Job)
	defer k.closeLog()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		ended, err := k.step(ctx)
		if ended || err != nil {
			return err
		}
		select {
		case <-news:
		case <-tick.C:
		case <-k.poke:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// step looks at the run once and does what is to be done.
func (k *carrier) step(ctx context.Context) (ended bool, err error) {
	v, ready, err := k.hub.view(k.handle.Job)
	if err != nil || !ready {
		return false, err
	}
	if v.job == nil && !k.seen {
		if time.Since(k.began) < watchLag {
			return false, nil
		}
		if v, err = k.ask(ctx, v); err != nil {
			return false, err
		}
	}
	k.seen = k.seen || v.job != nil
	if err := k.recall(ctx, &v); err != nil {
		return false, err
	}
	s := observe(k.run.ID, v)
	if k.why.RunStatus != "" {
		return k.ending(ctx, v, s)
	}
	if s.Ended() && s.result == nil { // of what two watches tell, one may be late
		if v, err = k.snapshot(ctx); err != nil {
			return false, err
		}
		s = k.observe(v)
	}
	k.lapse(&s)
	k.follow(ctx, v)
	if s.Ended() {
		return true, k.settle(ctx, s)
	}
	if err := k.note(s); err != nil {
		return false, err
	}
	return false, k.endIfAsked(ctx, s)
}

// ask asks the server about a Job that the watch has not told of.
func (k *carrier) ask(ctx context.Context, v view) (view, error) {
	var j api.Job
	err := k.c.Get(ctx, k.handle.job(), nil, &j)
	if api.Is(err, http.StatusNotFound) {
		k.seen = true
		return v, nil
	}
	if err != nil {
		return v, err
	}
	v.job = &j
	return v, nil
}

// recall asks, once, for a pod that the watch tells of no more: it has succeeded at the same moment
// as its container, or is gone.
func (k *carrier) recall(ctx context.Context, v *view) error {
	was := k.pod
	if v.pod != nil || was == nil || v.job == nil {
		k.pod = v.pod
		return nil
	}
	var p api.Pod
	err := k.c.Get(ctx, k.handle.pods()+"/"+was.Metadata.Name, nil, &p)
	if err != nil && !api.Is(err, http.StatusNotFound) {
		return err
	}
	if k.pod = nil; p.Metadata.UID == was.Metadata.UID {
		v.pod = &p
	}
	return nil
}

// lapse makes a failure of what ought to have passed by now.
func (k *carrier) lapse(s *state) {
	if !s.patient {
		k.bad = time.Time{}
		return
	}
	if k.bad.IsZero() {
		k.bad = time.Now()
	}
	if time.Since(k.bad) > imagePatience {
		s.RunStatus = exec.RunFailed
	}
}

// note writes to the record what has changed.
func (k *carrier) note(s state) (err error) {
	if s.RunStatus == k.run.Status && s.reason == k.run.Reason && s.message == k.run.Message {
		return nil
	}
	k.run, err = k.r.Registry.Update(k.run.ID, func(r *exec.Run) {
		r.Status, r.Reason, r.Message = s.RunStatus, s.reason, s.message
		if s.RunStatus == exec.RunRunning && r.Started.IsZero() {
			r.Started = time.Now().UTC()
		}
		if s.RunStatus == exec.RunPending {
			r.Started = time.Time{}
		}
	})
	return err
}

// observe says how the run is, and of a Job that is gone why, if kiln has ended it: the
// process that did may have died before it could say so.
func (k *carrier) observe(v view) state {
	s := observe(k.run.ID, v)
	if v.job != nil {
		return s
	}
	if why := k.wanted(state{RunStatus: k.run.Status, reason: k.run.Reason, message: k.run.Message}); why.RunStatus != "" {
		return state{RunStatus: why.RunStatus, reason: why.reason, message: why.message}
	}
	return s
}

// wanted says why the run is to end now: somebody has asked, or its time is up, of which it
// may have waited for the most.
func (k *carrier) wanted(s state) ending {
	switch limit := k.run.Spec.Timeout; {
	case k.r.Registry.CancelRequested(k.run.ID):
		return ending{exec.RunCancelled, "", "it was asked to end"}
	case limit > 0 && time.Since(k.run.Created) > limit:
		why := ending{exec.RunFailed, exec.ReasonTimeout, fmt.Sprintf("its time, %s, was up", limit)}
		if s.RunStatus == exec.RunPending {
			why.message += " while it was pending: "
			if s.reason != "" {
				why.message += string(s.reason) + ": "
			}
			why.message += s.message
		}
		return why
	}
	return ending{}
}

// endIfAsked begins to end a run that is to end.
func (k *carrier) endIfAsked(ctx context.Context, s state) error {
	if k.why = k.wanted(s); k.why.RunStatus == "" {
		return nil
	}
	return k.c.Delete(ctx, k.handle.job(), true)
}

// ending goes on to end a run: it is over when Job and pods are gone. The helper may
// just have come to an end by itself, which then counts.
func (k *carrier) ending(ctx context.Context, v view, s state) (bool, error) {
	k.follow(ctx, v)
	if s.result != nil && s.Ended() {
		return true, k.settle(ctx, s)
	}
	if v.job != nil || v.pod != nil {
		return false, nil
	}
	return true, k.settle(ctx, state{RunStatus: k.why.RunStatus, reason: k.why.reason, message: k.why.message})
}
