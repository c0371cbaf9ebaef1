package gc

import (
	"cmp"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kilnbuild/kiln/warehouse"
)

// A unit is something that goes or stays as one. They go in this order: least recently
// used first, and of those used at one time memos first, then aliases, then wares, so
// that nothing is named that is gone; then what is on shelves.
type unit struct {
	used  int64
	kind  uint8
	index int32
}

const (
	unitMemo uint8 = iota
	unitAlias
	unitWare
	unitThing
)

func (c *collection) units() []unit {
	units := make([]unit, 0, len(c.memos)+len(c.wares)+len(c.things))
	for i := range c.memos {
		units = append(units, unit{c.memos[i].used, unitMemo, int32(i)})
	}
	for i := range c.wares {
		kind := unitWare
		if c.wares[i].alias {
			kind = unitAlias
		}
		units = append(units, unit{c.wares[i].used, kind, int32(i)})
	}
	for i := range c.things {
		units = append(units, unit{c.things[i].item.Used.Unix(), unitThing, int32(i)})
	}
	slices.SortFunc(units, func(a, b unit) int {
		return cmp.Or(cmp.Compare(a.used, b.used), cmp.Compare(a.kind, b.kind), cmp.Compare(a.index, b.index))
	})
	return units
}

// over reports whether what is left is more than the limit.
func (c *collection) over() bool { return c.o.MaxBytes > 0 && c.total-c.freed > c.o.MaxBytes }

// clean removes what is broken, what is old, and then as much as there is no room for.
func (c *collection) clean() error {
	if err := c.cleanBroken(); err != nil {
		return err
	}
	batch := &batch{c: c}
	for _, u := range c.units() {
		if err := c.ctx.Err(); err != nil {
			return errors.Join(batch.flush(), err)
		}
		why := "size"
		if c.old(u.used) {
			why = "age"
		} else if !c.over() {
			// What is in the batch counts as gone, and may stay after all.
			if err := batch.flush(); err != nil || !c.over() {
				return err // what follows was used later, and there is room for it
			}
		}
		if err := c.remove(u, why, batch); err != nil {
			return errors.Join(batch.flush(), err)
		}
	}
	return batch.flush()
}

func (c *collection) remove(u unit, why string, b *batch) error {
	switch u.kind {
	case unitMemo:
		return c.removeMemo(&c.memos[u.index], why)
	case unitThing:
		return c.removeThing(&c.things[u.index], why)
	}
	w := &c.wares[u.index]
	if w.rooted || w.gone || w.refs > 0 {
		return nil
	}
	return b.add(u.index, why)
}

func (c *collection) removeMemo(m *memo, why string) error {
	if m.rooted || m.broken && why != "broken" {
		return nil
	}
	key := warehouse.StepKey(hex.EncodeToString(m.key[:]))
	if !c.o.DryRun {
		if err := c.o.Memos.Remove(key, m.seen); err != nil {
			return err
		}
	}
	if why != "broken" {
		for _, out := range m.outs {
			c.wares[out].refs--
		}
	}
	m.gone = true
	c.removed(Item{KindMemo, string(key), m.disk, time.Unix(m.used, 0).UTC(), why})
	return nil
}

func (c *collection) removed(i Item) {
	c.freed += i.Disk
	a := c.report.Removed[i.Kind]
	c.report.Removed[i.Kind] = Amount{a.Count + 1, a.Disk + i.Disk}
	if c.o.Removed != nil {
		c.o.Removed(i)
	}
}

// cleanBroken removes what nobody can use any more: memos of wares that are gone, records that
// are none, filesets without a record.
func (c *collection) cleanBroken() error {
	for i := range c.memos {
		if c.memos[i].broken {
			// A formula that is in use does not make it whole.
			c.memos[i].rooted = false
			if err := c.removeMemo(&c.memos[i], "broken"); err != nil {
				return err
			}
		}
	}
	b := &batch{c: c}
	for i := range c.wares {
		w := &c.wares[i]
		if w.broken && w.seen == (warehouse.RecordStat{}) { // only its Directory messages are there
			if err := c.removeStray(w); err != nil {
				return err
			}
		} else if w.broken && !w.rooted {
			if err := b.add(int32(i), "broken"); err != nil {
				return err
			}
		}
	}
	if err := b.flush(); err != nil {
		return err
	}
	return c.o.Warehouse.EachFileset(c.ctx, func(id warehouse.WareID, path string) error {
		if i, known := c.find(id); known && !c.wares[i].alias && !c.wares[i].gone || c.o.Warehouse.HasRecord(id) {
			return nil
		}
		disk, err := DiskUsage(c.ctx, path)
		if err != nil {
			return err
		}
		c.total += disk
		c.report.Before += disk
		if !c.o.DryRun {
			if err := c.o.Warehouse.RemoveOrphan(id); err != nil {
				return err
			}
		}
		c.removed(Item{KindLeftover, id.String(), disk, time.Unix(c.now, 0).UTC(), "broken"})
		return nil
	})
}

// removeStray removes what is left of a ware whose record was removed.
func (c *collection) removeStray(w *ware) error {
	if !c.o.DryRun {
		if err := c.o.Warehouse.RemoveOrphan(w.id); err != nil {
			return err
		}
	}
	w.gone = true
	c.removed(Item{KindLeftover, w.id.String(), w.disk, time.Unix(c.now, 0).UTC(), "broken"})
	return nil
}

// A batch is wares that are removed together: each lock costs those who commit.
type batch struct {
	c     *collection
	wares []int32
	whys  []string
}

// batchSize bounds for how long others wait for the warehouse's lock: a ware takes some
// 50 µs to be renamed aside.
const batchSize = 32

func (b *batch) add(i int32, why string) error {
	b.wares, b.whys = append(b.wares, i), append(b.whys, why)
	b.c.wares[i].gone = true
	b.c.freed += b.c.wares[i].disk
	if t := b.c.wares[i].tree; t >= 0 {
		b.c.wares[t].refs--
	}
	if len(b.wares) < batchSize {
		return nil
	}
	return b.flush()
}

func (b *batch) flush() error {
	if len(b.wares) == 0 {
		return nil
	}
	c := b.c
	gone := make([]bool, len(b.wares))
	var err error
	if c.o.DryRun {
		for i := range gone {
			gone[i] = true
		}
	} else {
		victims := make([]warehouse.Victim, len(b.wares))
		for i, at := range b.wares {
			victims[i] = warehouse.Victim{ID: c.wares[at].id, Seen: c.wares[at].seen}
		}
		gone, err = c.evict.Evict(victims)
	}
	for i, at := range b.wares {
		w := &c.wares[at]
		c.freed -= w.disk // removed counts it
		if !gone[i] {
			w.gone, w.rooted = false, true // somebody uses it
			if w.tree >= 0 {
				c.wares[w.tree].refs++
			}
			continue
		}
		kind := KindWare
		if w.alias {
			kind = KindAlias
		}
		c.removed(Item{kind, w.id.String(), w.disk, time.Unix(w.used, 0).UTC(), b.whys[i]})
	}
	b.wares, b.whys = b.wares[:0], b.whys[:0]
	if err != nil {
		return fmt.Errorf("remove wares: %w", err)
	}
	return nil
}

// sum fills in what the report says of what is left.
func (c *collection) sum() {
	left := func(k Kind, disk int64, rooted bool) {
		a := c.report.Left[k]
		c.report.Left[k] = Amount{a.Count + 1, a.Disk + disk}
		if rooted {
			c.report.Rooted += disk
		}
	}
	for i := range c.memos {
		if m := &c.memos[i]; !m.gone {
			left(KindMemo, m.disk, m.rooted)
		}
	}
	for i := range c.wares {
		w := &c.wares[i]
		switch {
		case w.gone:
		case w.alias:
			left(KindAlias, w.disk, w.rooted)
		default:
			left(KindWare, w.disk, w.rooted)
		}
	}
	for i := range c.things {
		if t := &c.things[i]; !t.gone {
			left(t.item.Kind, t.item.Disk, t.kept)
		}
	}
	c.report.Freed = c.freed
	if c.over() {
		c.report.Over = c.total - c.freed - c.o.MaxBytes
	}
}
