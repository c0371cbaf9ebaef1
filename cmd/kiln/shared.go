package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/internal/config"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/remote"
	"github.com/kilnbuild/kiln/warehouse/seal"
	"github.com/kilnbuild/kiln/warehouse/stores"
)

// configuration reads config.hcl.
func (a *app) configuration() (*config.Config, error) {
	path, err := configFile("config.hcl")
	if err != nil {
		return nil, err
	}
	c, diags := config.Load(path)
	return c, a.diagnose(diags, c.Sources)
}

// A shared is all warehouses beyond this machine. Its Fetch tells how far it is where
// its caller does not want to know.
type shared struct {
	*remote.Set
	a *app
}

// Fetch is a plan.Shared's.
func (s *shared) Fetch(ctx context.Context, id warehouse.WareID, progress func(done, total int64)) (warehouse.Record, error) {
	if progress != nil {
		return s.Set.Fetch(ctx, id, progress)
	}
	name := shortID(id)
	rec, err := s.Set.Fetch(ctx, id, func(done, total int64) {
		s.a.tellProgress(plan.Progress{Ware: name, Phase: plan.PhaseFetch, Done: done, Total: total})
	})
	if err == nil || !errors.Is(err, warehouse.ErrMissing) {
		s.a.tellProgress(plan.Progress{Ware: name, Phase: plan.PhaseFetch, Total: -1, End: true, Err: err})
	}
	return rec, err
}

// openShared makes the warehouses of the configuration, and behind them those that the
// formula names, ready to be asked. It opens none yet.
func (a *app) openShared(c *config.Config, f []formula.Warehouse, local *warehouse.Local, memos *warehouse.Memos) (*shared, error) {
	var all []remote.Warehouse
	for _, w := range c.Warehouses {
		all = append(all, remote.Warehouse{
			Name: w.Name, URL: warehouse.RedactURL(w.URL), Read: w.Read, Memos: w.Memos, Push: w.Push,
			Open: func(ctx context.Context) (warehouse.Store, error) { return openWarehouse(ctx, w) },
		})
	}
	for _, w := range f {
		if slices.ContainsFunc(all, func(o remote.Warehouse) bool { return o.URL == warehouse.RedactURL(w.URL) }) {
			continue
		}
		all = append(all, remote.Warehouse{
			Name: w.Name, URL: warehouse.RedactURL(w.URL), Read: true, Push: remote.PushNever,
			Open: func(ctx context.Context) (warehouse.Store, error) { return stores.Open(ctx, w.URL, stores.Options{}) },
		})
	}
	if len(all) == 0 {
		return &shared{a: a}, nil
	}
	trusted, secret, err := keys(c)
	if err != nil {
		return nil, err
	}
	cache, err := cacheDir("plan/download")
	if err != nil {
		return nil, err
	}
	return &shared{remote.New(remote.Options{
		Warehouses: all, Local: local, Memos: memos, Trusted: trusted, Secret: secret, CacheDir: cache,
		Warn: func(text string) { fmt.Fprintln(a.stderr, "warning:", text) },
	}), a}, nil
}

// openWarehouse opens a warehouse of the configuration with its credentials.
func openWarehouse(ctx context.Context, w config.Warehouse) (warehouse.Store, error) {
	token, err := w.Token.Get()
	if err != nil {
		return nil, fmt.Errorf("its token: %w", err)
	}
	password, err := w.Password.Get()
	if err != nil {
		return nil, fmt.Errorf("its password: %w", err)
	}
	return stores.Open(ctx, w.URL, stores.Options{
		Token: token, Username: w.Username, Password: password,
		CAFile: w.CAFile, CertFile: w.CertFile, KeyFile: w.KeyFile, Profile: w.Profile, Insecure: w.Insecure,
	})
}

// keys returns whose memos count, and this person's own key, which is trusted too; nil if
// there is none.
func keys(c *config.Config) (trusted func(seal.Key) bool, own *seal.Secret, err error) {
	listed := map[seal.Key]bool{}
	for _, text := range c.Trust {
		key, err := seal.ParseKey(text)
		if err != nil {
			return nil, nil, err
		}
		listed[key] = true
	}
	path, err := configFile(trustedKeys)
	if err != nil {
		return nil, nil, err
	}
	list, err := seal.ReadTrusted(path)
	if err != nil {
		return nil, nil, err
	}
	for _, t := range list {
		listed[t.Key] = true
	}
	if path, err = secretPath(c); err != nil {
		return nil, nil, err
	}
	own, err = seal.ReadSecret(path)
	if errors.Is(err, fs.ErrNotExist) && os.Getenv("KILN_KEY") == "" && c.Key == "" {
		err = nil
	}
	return func(key seal.Key) bool { return listed[key] || own != nil && own.Public() == key }, own, err
}

// secretPath returns where the key that signs memos lies.
func secretPath(c *config.Config) (string, error) {
	switch {
	case os.Getenv("KILN_KEY") != "":
		return os.Getenv("KILN_KEY"), nil
	case c.Key != "":
		return c.Key, nil
	}
	return configFile("key")
}

// bring fetches wares that only other warehouses have, as the results of steps that
// they remember may be. It returns those that cannot be had.
func (s *session) bring(ctx context.Context, ids []warehouse.WareID) (gone []warehouse.WareID, err error) {
	for _, id := range ids {
		if s.wares.Exists(id) {
			continue
		}
		if _, err := s.shared.Fetch(ctx, id, nil); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			gone = append(gone, id)
		}
	}
	return gone, nil
}

// wanted returns the wares that a run is for: the formula's outputs, or what the
// targets make.
func wanted(p *plan.Plan, r exec.Result, targets []string) []warehouse.WareID {
	var ids []warehouse.WareID
	for _, o := range p.Formula.Outputs {
		if id, ok := r.Steps[o.From.Step][o.From.Output]; ok && len(targets) == 0 {
			ids = append(ids, id)
		}
	}
	steps, err := p.Named(targets)
	if err != nil {
		return nil // told elsewhere
	}
	for _, st := range steps {
		ids = slices.AppendSeq(ids, maps.Values(r.Steps[st.Addr]))
	}
	return ids
}

// forget makes the memos of steps that made one of these wares count no more.
func (s *session) forget(r exec.Result, ids []warehouse.WareID) error {
	forgotten := false
	for addr, outputs := range r.Steps {
		for _, id := range outputs {
			if !slices.Contains(ids, id) {
				continue
			}
			resolved, err := s.plan.ResolveStep(s.plan.ByAddr[addr], plan.MadeBy(r.Steps))
			if err != nil {
				return err
			}
			s.shared.Forget(resolved.Key)
			forgotten = true
		}
	}
	if !forgotten {
		return &warehouse.MissingError{What: "ware " + ids[0].String()}
	}
	return nil
}

// pusher returns what pushes to other warehouses what this run makes, and how to wait
// for it. Both do nothing where no warehouse takes anything.
func (s *session) pusher(ctx context.Context, targets []string, tale *story) (made func(exec.Made), wait func()) {
	if !s.shared.Pushes() {
		return nil, func() {}
	}
	p := s.shared.NewPusher(ctx, tale.pushing)
	early, final, fetched := s.plan.EarlyKeys(), finalSteps(s.plan, targets), fetchedWares(s.plan.Formula)
	made = func(m exec.Made) {
		p.Add(remote.Made{Memo: m.Memo, Early: early[m.Step.Index], Took: s.took(m.Step.Step, fetched), Final: final[m.Step.Addr]})
	}
	return made, func() { _ = p.Wait() } // what went wrong was told, and is no failure of the run
}

// finalSteps are the steps that a run is for.
func finalSteps(p *plan.Plan, targets []string) map[string]bool {
	final := map[string]bool{}
	for _, o := range p.Formula.Outputs {
		final[o.From.Step] = true
	}
	if steps, err := p.Named(targets); err == nil {
		for _, st := range steps {
			final[st.Addr] = true
		}
	}
	return final
}

// fetchedWares returns the addresses of the wares that came from elsewhere.
func fetchedWares(f *formula.Formula) map[string]bool {
	fetched := map[string]bool{}
	for _, w := range f.Wares {
		fetched[w.Addr] = w.Source.Kind != formula.SourcePath && w.Source.Kind != formula.SourceText
	}
	return fetched
}
