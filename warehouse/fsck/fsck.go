// Package fsck finds what is wrong with a local warehouse and its memos, and can remove
// it so that it is made or fetched again. How a fileset is held against its id is for
// package pack to know: the caller hands that in.
package fsck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/warehouse"
)

// Options say what is checked, and how.
type Options struct {
	Warehouse *warehouse.Local
	Memos     *warehouse.Memos

	// Verify checks a ware that is no alias: its fileset, and what was recorded of it.
	// It is called from several goroutines.
	Verify func(ctx context.Context, rec warehouse.Record) error
	// Corrupt tells what an error of Verify says about the ware from anything else.
	Corrupt func(error) bool
	// Repair removes what is found, where that mends it.
	Repair bool

	Found    func(Finding)                       // called for what is found, one at a time
	Progress func(what string, done int, of int) // may be nil; of 0: not known
}

// What can be wrong.
const (
	Corrupt = "corrupt" // a ware is not what its id says
	Damaged = "damaged" // a record or memo cannot be read as one
	Stray   = "stray"   // a fileset, or Directory messages, without a record; nobody can see it
	Stale   = "stale"   // an alias or memo of wares that are gone; it counts for nothing
)

// A Finding is one thing that is wrong.
type Finding struct {
	Kind     string `json:"kind"`
	Name     string `json:"name"` // a ware id, or "memo " and a step key
	Why      string `json:"why"`
	Repaired bool   `json:"repaired"` // it was removed
}

// Bad reports whether something was lost, rather than left over.
func (f Finding) Bad() bool { return f.Kind == Corrupt || f.Kind == Damaged }

// A Report says how much was looked at, and what was found.
type Report struct {
	Wares    int            `json:"wares"`
	Aliases  int            `json:"aliases"`
	Memos    int            `json:"memos"`
	Found    map[string]int `json:"found"`
	Repaired int            `json:"repaired"`
}

// Bad is how many findings are Bad.
func (r *Report) Bad() int { return r.Found[Corrupt] + r.Found[Damaged] }

type checker struct {
	Options
	mu     sync.Mutex
	report Report
	total  int
}

// Check looks at everything. It may run beside anything else that kiln does. The error
// says what could not be looked at; what was found is in the report.
func Check(ctx context.Context, o Options) (*Report, error) {
	c := &checker{Options: o, report: Report{Found: map[string]int{}}}
	var unread error
	for _, check := range []func(context.Context) error{c.wares, c.strays, c.memos} {
		if err := check(ctx); err != nil {
			unread = errors.Join(unread, err)
		}
		if ctx.Err() != nil {
			return &c.report, ctx.Err()
		}
	}
	return &c.report, unread
}

// wares checks all wares, some at a time.
func (c *checker) wares(ctx context.Context) error {
	if err := c.Warehouse.Each(ctx, func(warehouse.Entry) error { c.total++; return nil }); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	var unread error
	err := c.Warehouse.Each(ctx, func(e warehouse.Entry) error {
		g.Go(func() error {
			if err := c.ware(ctx, e); err != nil {
				c.mu.Lock()
				unread = errors.Join(unread, err)
				c.mu.Unlock()
			}
			return ctx.Err()
		})
		return ctx.Err()
	})
	return cmp.Or(g.Wait(), err, unread)
}

func (c *checker) ware(ctx context.Context, e warehouse.Entry) error {
	c.count(&c.report.Wares, e.ID.String())
	remove := func() error { return c.Warehouse.Remove(e.ID) }
	if e.Bad && e.Stat == (warehouse.RecordStat{}) {
		return c.found(Finding{Kind: Stray, Name: e.ID.String(), Why: "Directory messages without a record"},
			func() error { return c.Warehouse.RemoveOrphan(e.ID) })
	}
	rec, err := c.Warehouse.Get(e.ID)
	missing := (*warehouse.MissingError)(nil)
	switch {
	case errors.As(err, &missing) && missing.Reason == nil:
		return nil // removed meanwhile
	case errors.As(err, &missing):
		if gone := (*warehouse.MissingError)(nil); errors.As(missing.Reason, &gone) && gone.Reason == nil {
			return c.found(Finding{Kind: Stale, Name: e.ID.String(), Why: "it names " + gone.What + ", which is not there"}, remove)
		}
		return c.found(Finding{Kind: Damaged, Name: e.ID.String(), Why: missing.Reason.Error()}, remove)
	case err != nil:
		return err
	case rec.Alias:
		c.mu.Lock()
		c.report.Wares--
		c.report.Aliases++
		c.mu.Unlock()
		return nil // of a ware that is checked itself
	}
	err = c.Verify(ctx, rec)
	switch {
	case err == nil || errors.Is(err, warehouse.ErrMissing) && !c.Warehouse.HasRecord(e.ID):
		return nil
	case c.Corrupt(err):
		return c.found(Finding{Kind: Corrupt, Name: e.ID.String(), Why: err.Error()}, remove)
	}
	return err
}

// strays finds filesets that have no record.
func (c *checker) strays(ctx context.Context) error {
	return c.Warehouse.EachFileset(ctx, func(id warehouse.WareID, path string) error {
		if c.Warehouse.HasRecord(id) {
			return ctx.Err()
		}
		// A commit puts the fileset there first, and its record a moment later.
		stray, err := c.Warehouse.Settled(func() bool { return !c.Warehouse.HasRecord(id) && exists(path) })
		if err != nil || !stray {
			return err
		}
		return c.found(Finding{Kind: Stray, Name: id.String(), Why: "a fileset without a record"},
			func() error { return c.Warehouse.RemoveOrphan(id) })
	})
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// memos checks that memos can be read, and that what they name is there.
func (c *checker) memos(ctx context.Context) error {
	return c.Memos.Each(ctx, func(e warehouse.MemoEntry) error {
		name := "memo " + string(e.Key)
		c.count(&c.report.Memos, name)
		remove := func() error { return c.Memos.Remove(e.Key, e.Stat) }
		if e.Memo == nil {
			_, err := c.Memos.Get(e.Key)
			missing := (*warehouse.MissingError)(nil)
			if !errors.As(err, &missing) || missing.Reason == nil {
				return nil // removed or written anew meanwhile
			}
			return c.found(Finding{Kind: Damaged, Name: name, Why: missing.Reason.Error()}, remove)
		}
		for output, id := range e.Memo.Outputs {
			if e.Memo.Origin == "" && !c.Warehouse.Has(id) {
				return c.found(Finding{Kind: Stale, Name: name, Why: fmt.Sprintf("output %s of %s, %s, is not there", output, e.Memo.Step, id)}, remove)
			}
		}
		return nil
	})
}

// count counts one more thing that is looked at.
func (c *checker) count(n *int, what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*n++
	if c.Progress != nil {
		c.Progress(what, c.report.Wares+c.report.Aliases, c.total)
	}
}

// found notes a finding, and mends it if that is asked for.
func (c *checker) found(f Finding, remove func() error) error {
	var err error
	if c.Repair {
		err = remove()
		f.Repaired = err == nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.report.Found[f.Kind]++
	if f.Repaired {
		c.report.Repaired++
	}
	if c.Found != nil {
		c.Found(f)
	}
	return err
}
