package gc

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/kilnbuild/kiln/warehouse"
)

// A ware is what is held of one.
type ware struct {
	id     warehouse.WareID
	seen   warehouse.RecordStat
	disk   int64
	used   int64 // unix seconds
	tree   int32 // of an alias: the index of what it names, or -1
	refs   int32 // memos and aliases that name it
	alias  bool
	rooted bool
	broken bool // the record is none, or names nothing
	gone   bool
}

// A memo is what is held of one.
type memo struct {
	key    [32]byte
	seen   warehouse.MemoStat
	disk   int64
	used   int64
	outs   []int32
	rooted bool
	broken bool // it cannot be read, or one of its wares is gone
	gone   bool
}

// A collection is one call of Collect or Survey.
type collection struct {
	ctx    context.Context
	o      Options
	now    int64
	wares  []ware // by id
	memos  []memo // by key
	things []thing
	evict  *warehouse.Evictor
	total  int64
	freed  int64
	report *Report

	holders map[holder]string // for Look: which formula holds what; else nil
}

// chunk is room for what comes while things are counted, and for aliases: growing a
// large slice takes twice its memory.
const chunk = 4096

func newCollection(ctx context.Context, o Options) *collection {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &collection{
		ctx: ctx, o: o, now: o.Now().Unix(),
		report: &Report{Removed: map[Kind]Amount{}, Left: map[Kind]Amount{}, Roots: []Root{}},
	}
}

// survey finds out what there is, how much it takes and who uses it. Wares are listed
// before memos: a memo that a run writes meanwhile names wares that are listed, or
// fresh.
func (c *collection) survey() error {
	for _, step := range []struct {
		doing string
		do    func() error
	}{
		{"listing wares", c.listWares}, {"measuring wares", c.measure}, {"listing memos", c.listMemos},
		{"reading what is in use", c.listUses}, {"looking who is at work", c.listLeases}, {"listing caches", c.listShelves},
	} {
		if c.o.Progress != nil {
			c.o.Progress(step.doing)
		}
		if err := step.do(); err != nil {
			return err
		}
		if err := c.ctx.Err(); err != nil {
			return err
		}
	}
	c.spread()
	c.report.Before = c.total
	return nil
}

func (c *collection) listWares() error {
	l := c.o.Warehouse
	n := 0
	if err := l.EachFileset(c.ctx, func(warehouse.WareID, string) error { n++; return nil }); err != nil {
		return err
	}
	c.wares = make([]ware, 0, n+chunk)
	err := l.Each(c.ctx, func(e warehouse.Entry) error {
		w := ware{id: e.ID, seen: e.Stat, disk: e.Disk, used: e.Stat.Mtime / 1e9, tree: -1, broken: e.Bad}
		w.used = c.notFuture(w.used, func() {
			l.Touch(e.ID)
			if now, err := l.StatRecord(e.ID); err == nil {
				w.seen = now
			}
		})
		c.wares = append(c.wares, w)
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(c.wares, func(a, b ware) int { return compareIDs(a.id, b.id) })
	// A directory that changes while it is read may give a name twice.
	c.wares = slices.CompactFunc(c.wares, func(a, b ware) bool { return a.id == b.id })
	for i := range c.wares {
		if w := &c.wares[i]; w.id.Packtype != "tree" && !w.broken {
			if err := c.follow(w); err != nil {
				return err
			}
		}
	}
	return nil
}

func compareIDs(a, b warehouse.WareID) int {
	return cmp.Or(cmp.Compare(a.Packtype, b.Packtype), cmp.Compare(a.Hash, b.Hash))
}

// find returns the index of a ware.
func (c *collection) find(id warehouse.WareID) (int32, bool) {
	i, ok := slices.BinarySearchFunc(c.wares, id, func(w ware, id warehouse.WareID) int { return compareIDs(w.id, id) })
	return int32(i), ok
}

func compareKeys(a memo, key [32]byte) int { return bytes.Compare(a.key[:], key[:]) }

// follow finds out whether a ware is an alias, and of what: that of a tree is never one.
func (c *collection) follow(w *ware) error {
	rec, err := c.o.Warehouse.Get(w.id)
	if errors.Is(err, warehouse.ErrMissing) {
		w.broken = true // damaged, or the tree it names is gone: nobody can use it
		return nil
	}
	if err != nil || !rec.Alias {
		return err
	}
	w.alias = true
	if tree, ok := c.find(rec.Tree); ok {
		w.tree = tree
		c.wares[tree].refs++
	}
	return nil
}

// notFuture returns when something was used; a time to come, such as a wrong clock
// leaves, counts as now, and correct writes that down so that it begins to age.
func (c *collection) notFuture(used int64, correct func()) int64 {
	const tolerance = 60
	if used <= c.now+tolerance {
		return used
	}
	if !c.o.DryRun {
		correct()
	}
	return c.now
}

func (c *collection) listMemos() error {
	n := 0
	if err := c.o.Memos.EachKey(c.ctx, func(warehouse.StepKey) error { n++; return nil }); err != nil {
		return err
	}
	c.memos = make([]memo, 0, n+chunk)
	err := c.o.Memos.Each(c.ctx, func(e warehouse.MemoEntry) error {
		m := memo{seen: e.Stat, disk: e.Disk, used: e.Stat.Mtime / 1e9, broken: e.Memo == nil}
		m.used = c.notFuture(m.used, func() {
			c.o.Memos.Touch(e.Key, 0)
			if now, err := c.o.Memos.Stat(e.Key); err == nil {
				m.seen = now
			}
		})
		if n, err := hex.Decode(m.key[:], []byte(e.Key)); err != nil || n != len(m.key) {
			return nil
		}
		if e.Memo != nil {
			for _, id := range e.Memo.Outputs {
				if i, ok := c.find(id); ok && !c.wares[i].broken {
					m.outs = append(m.outs, i)
				} else if e.Memo.Origin == "" && !c.o.Warehouse.Has(id) {
					m.broken = true
				}
			}
		}
		c.memos = append(c.memos, m)
		return nil
	})
	slices.SortFunc(c.memos, func(a, b memo) int { return compareKeys(a, b.key) })
	c.memos = slices.CompactFunc(c.memos, func(a, b memo) bool { return a.key == b.key })
	return err
}

// listUses finds the formulas that are in use, and when what they take was used.
func (c *collection) listUses() error {
	var used int64
	var rooted bool
	var name string
	var stale []string
	err := c.o.Uses.Each(c.ctx, warehouse.Visitor{
		Begin: func(u *warehouse.Use, last time.Time) {
			used = min(last.Unix(), c.now)
			rooted = exists(u) && !c.old(used)
			if !rooted {
				stale = append(stale, u.Lock)
				return
			}
			name = "formula " + u.Formula
			c.report.Roots = append(c.report.Roots, Root{u.Lock, u.Formula, time.Unix(used, 0).UTC()})
		},
		Ware: func(id warehouse.WareID) {
			if i, ok := c.find(id); ok {
				w := &c.wares[i]
				w.used, w.rooted = max(w.used, used), w.rooted || rooted
				if rooted && c.holders != nil {
					c.holds(i, name)
				}
			}
		},
		Memo: func(key warehouse.StepKey) {
			var k [32]byte
			if n, err := hex.Decode(k[:], []byte(key)); err != nil || n != len(k) {
				return
			}
			if i, ok := slices.BinarySearchFunc(c.memos, k, compareKeys); ok {
				m := &c.memos[i]
				m.used, m.rooted = max(m.used, used), m.rooted || rooted
				if rooted && c.holders != nil {
					c.holders[holder{memo: m.key}] = name
					for _, out := range m.outs {
						c.holds(out, name)
					}
				}
			}
		},
	})
	if err != nil || c.o.DryRun {
		return err
	}
	for _, lock := range stale {
		// What it used keeps its own times. Those it was last used at are lost with
		// it only when they are older than KeepFor, or its formula is gone.
		err = errors.Join(err, c.o.Uses.Forget(lock))
	}
	return err
}

// exists reports whether a formula's lock file is there, or if it needed none its
// directory.
func exists(u *warehouse.Use) bool {
	path := u.Formula
	if u.Locked {
		path = u.Lock
	}
	_, err := os.Stat(path)
	return err == nil
}

// old reports whether what was last used then is as old as goes.
func (c *collection) old(used int64) bool {
	return c.o.KeepFor >= 0 && used <= c.now-int64(c.o.KeepFor/time.Second)
}

// fileTick is by how much what a file system notes as now may be behind the clock: a tick
// of the slowest kernels.
const fileTick = 10 * time.Millisecond

// listLeases finds out what running kilns use.
func (c *collection) listLeases() error {
	c.evict = c.o.Warehouse.Evictor()
	c.evict.Fresh = cmp.Or(c.o.Fresh, c.evict.Fresh)
	n, err := c.evict.Others()
	if errors.Is(err, warehouse.ErrReadOnly) {
		return nil // for a look at it, nobody is at work
	}
	c.report.Running = n
	since := c.o.UsedSince.Add(-fileTick).Unix()
	for i := range c.wares {
		if w := &c.wares[i]; !c.o.UsedSince.IsZero() && w.used >= since {
			w.rooted = true
		}
	}
	for i := range c.wares {
		if n > 0 && c.evict.Held(c.wares[i].id) {
			c.wares[i].rooted = true
		}
	}
	return err
}

// spread lets what names wares speak for them: a memo that is kept keeps its wares, an
// alias its tree, and a ware was last used when they were.
func (c *collection) spread() {
	for i := range c.memos {
		m := &c.memos[i]
		c.total += m.disk
		if m.broken {
			continue
		}
		for _, out := range m.outs {
			w := &c.wares[out]
			w.refs++
			w.used, w.rooted = max(w.used, m.used), w.rooted || m.rooted
		}
	}
	for i := range c.wares {
		w := &c.wares[i]
		c.total += w.disk
		if w.tree >= 0 {
			t := &c.wares[w.tree]
			t.used, t.rooted = max(t.used, w.used), t.rooted || w.rooted
		}
	}
	for i := range c.things {
		c.total += c.things[i].item.Disk
	}
}
