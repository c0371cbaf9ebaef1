package exec

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/kilnbuild/kiln/exec/container/wire"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
)

// wares looks at each ware that is an input once a run: that it is there, and that
// nobody has changed it on disk since it was put there.
type wares struct {
	local  *warehouse.Local
	shared plan.Shared
	hosts  *hosts
	mu     sync.Mutex
	seen   map[seenWare]*look
}

// seenWare is a ware, unpacked with filters or, without any, as it is.
type seenWare struct {
	id      warehouse.WareID
	filters string
}

type look struct {
	once sync.Once
	done bool // guarded by wares.mu
	rec  warehouse.Record
	err  error
}

func newWares(local *warehouse.Local, shared plan.Shared, hosts *hosts) *wares {
	if shared == nil {
		shared = plan.Alone{}
	}
	return &wares{local: local, shared: shared, hosts: hosts, seen: map[seenWare]*look{}}
}

// add notes a ware that was made by this run.
func (w *wares) add(rec warehouse.Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[seenWare{rec.ID, ""}] = &look{done: true, rec: rec}
}

// known returns the record of a ware that was looked at and found good.
func (w *wares) known(s seenWare) (warehouse.Record, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.seen[s]
	if l == nil || !l.done || l.err != nil {
		return warehouse.Record{}, false
	}
	return l.rec, true
}

// look looks at a ware, or waits for who does.
func (w *wares) look(ctx context.Context, s seenWare) (warehouse.Record, error) {
	w.mu.Lock()
	l := w.seen[s]
	if l == nil {
		l = &look{}
		w.seen[s] = l
	}
	done := l.done
	w.mu.Unlock()
	if done {
		return l.rec, l.err
	}
	l.once.Do(func() {
		rec, err := w.local.Get(s.id)
		if err == nil {
			err = w.local.Hold(s.id)
		}
		if errors.Is(err, warehouse.ErrMissing) {
			if rec, err = w.shared.Fetch(ctx, s.id, nil); err == nil {
				err = w.local.HoldMade(s.id)
			}
		} else if err == nil {
			err = pack.Check(ctx, w.local, s.id)
		}
		if err == nil && s.filters != "" {
			rec, err = w.filtered(ctx, rec, s.filters)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		l.rec, l.err, l.done = rec, err, true
	})
	return l.rec, l.err
}

// filtered returns a ware that is rec unpacked with filters: another fileset than rec's
// own, which stays as it is for whoever wants that.
func (w *wares) filtered(ctx context.Context, rec warehouse.Record, filters string) (warehouse.Record, error) {
	f, err := pack.ParseUnpackFilters(filters)
	if err != nil || f.OwnersOnly() {
		return rec, err // in a step every file belongs to root
	}
	if rec, err = pack.Derive(ctx, w.local, rec.ID, f); err == nil {
		err = w.local.Hold(rec.ID)
	}
	return rec, err
}

// A checkResult says whether a step's inputs are there and whole.
type checkResult struct {
	st     *state
	mounts []wire.Mount // sorted by port
	port   string       // of the first input that is not
	err    error
	failed []failedInput
}

// failedInput is one input that is not there, or not whole.
type failedInput struct {
	port string
	err  error
}

// check looks at all of a step's inputs.
func (w *wares) check(ctx context.Context, st *state) checkResult {
	c := checkResult{st: st}
	for _, in := range st.resolved.Inputs {
		if in.Host != "" {
			m, err := w.hosts.mount(in.Port, in.Host, in.Mode)
			if err != nil && c.err == nil {
				c.port, c.err = in.Port, fmt.Errorf("input %s: %w", in.Port, err)
			}
			c.mounts = append(c.mounts, m)
			continue
		}
		rec, err := w.look(ctx, seenWare{in.Ware, in.Filters})
		switch {
		case errors.Is(err, warehouse.ErrMissing):
			err = &missingInput{in.Port, in.Ware, err}
		case errors.Is(err, pack.ErrCorrupt):
			err = fmt.Errorf("input %s: %w; to have it made or fetched again: kiln ware rm %s", in.Port, err, in.Ware)
		case err != nil:
			err = fmt.Errorf("input %s: %w", in.Port, err)
		}
		if err != nil {
			if c.err == nil {
				c.port = in.Port
			}
			c.err = errors.Join(c.err, err)
			c.failed = append(c.failed, failedInput{in.Port, err})
			continue
		}
		c.mounts = append(c.mounts, w.mount(in.Port, in.Mode, rec))
	}
	return c
}

// missingInput says that an input's ware is nowhere to be had.
type missingInput struct {
	port string
	id   warehouse.WareID
	err  error
}

func (e *missingInput) Error() string {
	if _, plain := e.err.(*warehouse.MissingError); plain {
		return fmt.Sprintf("input %s: ware %s is not in the warehouse: run kiln fetch", e.port, e.id)
	}
	return fmt.Sprintf("input %s: %v", e.port, e.err)
}

func (e *missingInput) Unwrap() error { return e.err }

// root returns the ware that is the step's root, with its filters applied.
func (c checkResult) root() warehouse.WareID {
	for _, m := range c.mounts {
		if m.Port == "/" {
			return m.Ware
		}
	}
	return warehouse.WareID{}
}

// addNetwork returns mounts with what s finds of this machine to use the network. root
// is the mount of its root ware, or nil.
func (w *wares) addNetwork(mounts []wire.Mount, s *plan.Step, root *wire.Mount) []wire.Mount {
	fileset := ""
	if root != nil && root.Host == 0 {
		fileset = filepath.Join(w.local.Dir(), root.Path)
	}
	return w.hosts.addNetwork(mounts, s.Inputs, fileset)
}

func (w *wares) mount(port string, mode formula.Mode, rec warehouse.Record) wire.Mount {
	if rec.ID.IsZero() {
		return wire.Mount{}
	}
	path, err := filepath.Rel(w.local.Dir(), w.local.Fileset(rec))
	if err != nil {
		path = w.local.Fileset(rec) // cannot be: it lies below Dir
	}
	return wire.Mount{Port: port, Ware: rec.ID, Path: path, File: rec.File, Overlay: mode == formula.Overlay}
}
