package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/remote"
	"github.com/kilnbuild/kiln/warehouse/stores"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
)

const pushHelp = `Put wares of this machine into a warehouse, whatever its push policy, and print the id
of each. Wares are named by the beginnings of their ids.

With -f, it is what a formula is made of that is put there: what its remembered steps
made, their memos, and the wares they took that were fetched.`

const pullHelp = `Bring wares from a warehouse to this machine, and print the id of each. Wares are named
by their whole ids.`

const copyHelp = `Copy wares from one warehouse to another, and print the id of each. They pass through
this machine, which verifies them and keeps only what it had before, or what another
kiln has come to count on.`

// transferJobs is how many wares are on their way at a time.
const transferJobs = 4

func newWarehousePushCmd(a *app) *cobra.Command {
	var f planFlags
	var targets []string
	cmd := &cobra.Command{
		Use:               "push WAREHOUSE [WARE...]",
		Short:             "Put wares into a warehouse",
		Long:              pushHelp,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeWares(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			for _, name := range []string{"target", "var", "var-file"} {
				if f.path == "" && cmd.Flags().Changed(name) {
					return fmt.Errorf("--%s is about a formula: name one with -f", name)
				}
			}
			switch {
			case f.path == "" && len(args) == 1:
				return withHint(errors.New("nothing to push"), "Name wares, or a formula with -f.")
			case f.path != "" && len(args) > 1:
				return errors.New("push wares, or what a formula is made of with -f, not both")
			case f.path != "":
				return a.pushFormula(cmd.Context(), &f, args[0], targets)
			}
			return a.pushWares(cmd.Context(), args[0], args[1:])
		},
	}
	cmd.Flags().StringVarP(&f.path, "formula", "f", "", "what a formula is made of, a `FILE|DIR`")
	targetFlag(cmd, &targets)
	f.formulaFlags.add(cmd)
	return cmd
}

func newWarehousePullCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "pull WAREHOUSE WARE...",
		Short: "Bring wares from a warehouse",
		Long:  pullHelp,
		Args:  cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.pullWares(cmd.Context(), args[0], args[1:])
		},
	}
}

func newWarehouseCopyCmd(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "copy FROM TO WARE...",
		Short: "Copy wares from one warehouse to another",
		Long:  copyHelp,
		Args:  cobra.MinimumNArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.copyWares(cmd.Context(), args[0], args[1], args[2:])
		},
	}
}

// place returns a warehouse by its name in the configuration, or by its URL, for all
// that one can do with it.
func (a *app) place(name string) (remote.Warehouse, error) {
	c, err := a.configuration()
	if err != nil {
		return remote.Warehouse{}, err
	}
	place := remote.Warehouse{Name: name, Read: true, Memos: true, Push: remote.PushAll}
	if w, ok := c.Find(name); ok {
		place.URL, place.Memos = warehouse.RedactURL(w.URL), w.Memos
		place.Open = func(ctx context.Context) (warehouse.Store, error) { return openWarehouse(ctx, w) }
		return place, nil
	}
	if !strings.Contains(name, "://") {
		var names []string
		for _, w := range c.Warehouses {
			names = append(names, w.Name)
		}
		hint := "A URL will do too. config.hcl names: " + strings.Join(names, ", ")
		if names == nil {
			hint = "A URL will do too. config.hcl names none."
		}
		return place, withHint(fmt.Errorf("there is no warehouse %q", warehouse.RedactURL(name)), hint)
	}
	place.Name, place.URL = warehouse.RedactURL(name), warehouse.RedactURL(name)
	place.Open = func(ctx context.Context) (warehouse.Store, error) { return stores.Open(ctx, name, stores.Options{}) }
	return place, nil
}

// withPlaces opens warehouses as one Set. What it warns of is told in the end, unless the
// error says it too.
func (a *app) withPlaces(local *warehouse.Local, names []string, use func(set *remote.Set, places []remote.Warehouse) error) (err error) {
	var mu sync.Mutex
	var warnings []string
	defer func() {
		for _, text := range warnings {
			_, cause, _ := strings.Cut(text, ": ")
			if err == nil || !strings.Contains(err.Error(), cause) {
				fmt.Fprintln(a.stderr, "warning:", text)
			}
		}
	}()
	warn := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		warnings = append(warnings, text)
	}
	c, err := a.configuration()
	if err != nil {
		return err
	}
	trusted, secret, err := keys(c)
	if err != nil {
		return err
	}
	o := remote.Options{Local: local, Trusted: trusted, Secret: secret, Warn: warn}
	if o.CacheDir, err = cacheDir("plan/download"); err != nil {
		return err
	}
	for _, name := range names {
		place, err := a.place(name)
		if err != nil {
			return err
		}
		o.Warehouses = append(o.Warehouses, place)
	}
	set := remote.New(o)
	defer set.Close()
	return use(set, o.Warehouses)
}

func (a *app) pushWares(ctx context.Context, name string, prefixes []string) error {
	return withWares(func(l *warehouse.Local) error {
		recs, err := findWares(ctx, l, prefixes)
		if err != nil {
			return err
		}
		var ids []warehouse.WareID
		for _, rec := range recs {
			ids = append(ids, rec.ID)
		}
		return a.withPlaces(l, []string{name}, func(set *remote.Set, places []remote.Warehouse) error {
			return a.transfer(ctx, "pushing", ids, func(ctx context.Context, id warehouse.WareID, progress func(done, total int64)) error {
				return set.Put(ctx, places[0].Name, id, progress)
			})
		})
	})
}

func (a *app) pullWares(ctx context.Context, name string, names []string) error {
	ids, err := wholeIDs(names)
	if err != nil {
		return err
	}
	return withWares(func(l *warehouse.Local) error {
		return a.withPlaces(l, []string{name}, func(set *remote.Set, _ []remote.Warehouse) error {
			return a.transfer(ctx, "pulling", ids, func(ctx context.Context, id warehouse.WareID, progress func(done, total int64)) error {
				if _, err := set.Fetch(ctx, id, progress); err != nil {
					return fmt.Errorf("pull from warehouse %s: %w", warehouse.RedactURL(name), err)
				}
				return nil
			})
		})
	})
}

func (a *app) copyWares(ctx context.Context, from, to string, names []string) error {
	ids, err := wholeIDs(names)
	if err != nil {
		return err
	}
	return withWares(func(l *warehouse.Local) error {
		return a.withPlaces(l, []string{from}, func(source *remote.Set, _ []remote.Warehouse) error {
			return a.withPlaces(l, []string{to}, func(target *remote.Set, places []remote.Warehouse) error {
				return a.transfer(ctx, "copying", ids, func(ctx context.Context, id warehouse.WareID, progress func(done, total int64)) error {
					had := l.Exists(id)
					_, err := source.Fetch(ctx, id, progress)
					if err == nil {
						err = target.Put(ctx, places[0].Name, id, progress)
					}
					if !had && l.Exists(id) {
						err = errors.Join(err, evict(l, id))
					}
					return err
				})
			})
		})
	})
}

// evict removes a ware that nobody else counts on.
func evict(l *warehouse.Local, id warehouse.WareID) error {
	seen, err := l.StatRecord(id)
	if err == nil {
		_, err = l.Evictor().Evict([]warehouse.Victim{{ID: id, Seen: seen}})
	}
	return err
}

func wholeIDs(names []string) (ids []warehouse.WareID, err error) {
	for _, name := range names {
		id, idErr := warehouse.ParseWareID(name)
		err = errors.Join(err, idErr)
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids, err
}

// transfer moves wares, some at a time, and prints each that has arrived. One that does
// not is no reason to leave the others.
func (a *app) transfer(ctx context.Context, doing string, ids []warehouse.WareID, move func(context.Context, warehouse.WareID, func(done, total int64)) error) error {
	g := a.newGauge(ctx, "", doing, -1)
	defer g.close()
	var mu sync.Mutex
	var failures []error
	var moved int64 // bytes, of all
	var work errgroup.Group
	work.SetLimit(transferJobs)
	for _, id := range ids {
		work.Go(func() error {
			var last int64
			err := ctx.Err()
			if err == nil {
				err = move(ctx, id, func(done, _ int64) {
					mu.Lock()
					defer mu.Unlock()
					moved += done - last
					last = done
					g.of(moved, -1)
				})
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failures = append(failures, err)
				return nil
			}
			fmt.Fprintln(a.stdout, id)
			return nil
		})
	}
	work.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(failures...)
}

// pushFormula pushes what a formula is made of, as far as it has been made.
func (a *app) pushFormula(ctx context.Context, f *planFlags, name string, targets []string) error {
	f.offline = true
	s, err := a.openSession(ctx, f)
	if err != nil {
		return err
	}
	defer s.close()
	explained, err := s.explain(ctx, targets, false)
	if err != nil {
		return err
	}
	return a.withPlaces(s.wares, []string{name}, func(set *remote.Set, _ []remote.Warehouse) error {
		p := set.NewPusher(ctx, nil)
		early, fetched := s.plan.EarlyKeys(), fetchedWares(s.plan.Formula)
		pushed := map[warehouse.WareID]bool{}
		for i := range explained {
			e := &explained[i]
			if e.Memo == nil {
				continue
			}
			made := remote.Made{Memo: *e.Memo, Early: early[e.Step.Index], Final: true, Took: s.took(e.Step.Step, fetched)}
			for _, id := range slices.Concat(slices.Collect(maps.Values(made.Memo.Outputs)), made.Took) {
				pushed[id] = true
			}
			p.Add(made)
		}
		if err := p.Wait(); ctx.Err() != nil || err != nil {
			return cmp.Or(ctx.Err(), err)
		}
		if left := len(plan.Pending(explained)); left > 0 {
			fmt.Fprintf(a.stderr, "%s not remembered here, and not pushed: run the formula first\n", count(left, "step")+" "+map[bool]string{true: "is", false: "are"}[left == 1])
		}
		for _, id := range slices.SortedFunc(maps.Keys(pushed), func(a, b warehouse.WareID) int { return strings.Compare(a.String(), b.String()) }) {
			fmt.Fprintln(a.stdout, id)
		}
		return nil
	})
}

// took returns the wares that a step takes and that came from elsewhere.
func (s *session) took(st *formula.Step, fetched map[string]bool) []warehouse.WareID {
	var took []warehouse.WareID
	for _, in := range st.Inputs {
		if fetched[in.From.Ware] && s.wares.Exists(s.plan.Wares[in.From.Ware]) {
			took = append(took, s.plan.Wares[in.From.Ware])
		}
	}
	return took
}
