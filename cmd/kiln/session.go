package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/formula/warpforge"
	"github.com/kilnbuild/kiln/internal/config"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/spf13/cobra"
)

// A session is what every verb that plans has open: the formula's plan, and what it
// is held against. The verb closes it.
type session struct {
	plan    *plan.Plan
	wares   *warehouse.Local
	memos   *warehouse.Memos
	shared  *shared
	mirrors *config.Config // nil until it is read
	history *plan.History
	lockAt  string                       // path of the lock file
	results map[string]formula.Result    // of calls, as far as they are known
	extend  func(*formula.Formula) error // adds to the formula what a verb needs beside it; may be nil

	warpforge *warpforge.Loaded // nil for an HCL formula
}

// planFlags are the flags of every verb that plans.
type planFlags struct {
	formulaFlags
	offline   bool
	update    []string // addresses of wares to resolve anew
	updateAll bool
	anew      bool // nothing that is remembered counts
}

func (f *planFlags) add(cmd *cobra.Command) {
	f.formulaFlags.add(cmd)
	cmd.Flags().BoolVar(&f.offline, "offline", false, "fail rather than use the network")
}

// openSession loads the formula and resolves its wares, as far as they are known from
// calls that are remembered. It does not write the lock file: lock does.
func (a *app) openSession(ctx context.Context, f *planFlags) (*session, error) {
	return a.openExtended(ctx, f, nil)
}

// openExtended is openSession for a formula that is extended before it is planned.
func (a *app) openExtended(ctx context.Context, f *planFlags, extend func(*formula.Formula) error) (_ *session, err error) {
	s := &session{results: map[string]formula.Result{}, extend: extend}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	for again := true; again; {
		if err = a.resolve(ctx, s, f); err != nil {
			return nil, err
		}
		if again = !f.anew; again {
			if again, err = s.recall(ctx); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// resolve loads the formula anew, with what is known of its calls, and resolves its
// wares.
func (a *app) resolve(ctx context.Context, s *session, f *planFlags) error {
	loaded, err := f.load(a, s.results)
	if err != nil {
		return err
	}
	if s.extend != nil {
		if err := s.extend(loaded); err != nil {
			return err
		}
	}
	cache, err := cacheDir("plan")
	if err != nil {
		return err
	}
	if s.wares == nil {
		if err = s.open(); err != nil {
			return err
		}
	}
	if s.shared == nil {
		if err = a.share(s, f, loaded); err != nil {
			return err
		}
	}
	s.lockAt = lockPath(loaded.Dir, f.path)
	p, diags := plan.Resolve(ctx, loaded, plan.ResolveOptions{
		Warehouse: s.wares, CacheDir: cache, LockPath: s.lockAt,
		Builtins: builtins(), Offline: f.offline, Update: f.update, UpdateAll: f.updateAll,
		Progress: a.tellProgress, Shared: s.shared, Mirrors: s.mirrors,
	})
	if err = a.diagnosePlan(diags, loaded.Sources); err != nil {
		return err
	}
	s.warpforge = f.warpforge
	s.plan, s.history = p, p.OpenHistory(filepath.Join(cache, "history"))
	return nil
}

func (s *session) open() error {
	dir, err := dataDir("warehouse")
	if err != nil {
		return err
	}
	if s.wares, err = warehouse.OpenLocal(dir); err != nil {
		return err
	}
	if dir, err = dataDir("memo"); err != nil {
		return err
	}
	if s.memos, err = warehouse.OpenMemos(dir); err != nil {
		return err
	}
	return s.wares.Hold() // a collector sees that somebody is at work
}

// share makes the other warehouses ready, unless the network is forbidden.
func (a *app) share(s *session, f *planFlags, loaded *formula.Formula) error {
	c, err := a.configuration()
	if err != nil {
		return err
	}
	s.mirrors, s.shared = c, &shared{a: a}
	if f.offline {
		return nil
	}
	s.shared, err = a.openShared(c, loaded.Warehouses, s.wares, s.memos)
	return err
}

func (s *session) close() {
	if s.shared != nil {
		s.shared.Close()
	}
	if s.wares != nil {
		s.wares.Close()
	}
}

// lockPath returns where the lock file of the formula at path lies: kiln.lock.hcl
// for a directory and for kiln.hcl, NAME.lock.hcl for another file NAME.hcl.
func lockPath(dir, path string) string {
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		return filepath.Join(dir, plan.LockName)
	}
	name := filepath.Base(path)
	return filepath.Join(dir, strings.TrimSuffix(name, filepath.Ext(name))+".lock.hcl")
}

// explain says what a run of the targets would do with each step.
func (s *session) explain(ctx context.Context, targets []string, force bool) ([]plan.Explanation, error) {
	steps, err := s.plan.Select(targets)
	if err != nil {
		return nil, err
	}
	return s.plan.Explain(ctx, steps, plan.ExplainOptions{
		Warehouse: s.wares, Memos: s.memos, Shared: s.shared, History: s.history, Force: force,
	})
}

// lock writes what was resolved to the lock file and tells what changed in it. With
// prune, entries of wares that are gone are dropped.
func (a *app) lock(s *session, prune bool) ([]plan.LockChange, error) {
	changes, diags := s.plan.SaveLock(prune)
	for _, c := range changes {
		fmt.Fprintln(a.stderr, "locked", c)
	}
	return changes, a.diagnosePlan(diags, s.plan.Formula.Sources)
}

// fetch brings the wares at addrs into the warehouse.
func (a *app) fetch(ctx context.Context, s *session, addrs []string) error {
	return a.diagnosePlan(s.plan.Fetch(ctx, addrs), s.plan.Formula.Sources)
}

// diagnosePlan is diagnose with the exit code that the causes ask for.
func (a *app) diagnosePlan(diags hcl.Diagnostics, files map[string]*hcl.File) error {
	return sourceError(a.diagnose(diags, files), plan.Cause(diags))
}

// sourceError gives err the exit code that its cause, an error of package plan, asks for.
func sourceError(err, cause error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(cause, plan.ErrMismatch), errors.Is(cause, warehouse.ErrMismatch):
		return withCode(codeMismatch, err)
	case errors.Is(cause, plan.ErrUnavailable), errors.Is(cause, warehouse.ErrMissing):
		return withCode(codeMissing, err)
	}
	return err
}

// tellProgress tells what took the network; the rest is quick, or shown by who can.
func (a *app) tellProgress(p plan.Progress) {
	if a.observe != nil {
		a.observe(p)
		return
	}
	if p.End && p.Err == nil && p.Phase == plan.PhaseFetch {
		fmt.Fprintln(a.stderr, "fetched", p.Ware)
	}
}
