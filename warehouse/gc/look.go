package gc

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/kilnbuild/kiln/warehouse"
)

// A Survey says what takes how much room.
type Survey struct {
	Total   int64   `json:"total"`   // bytes on disk
	Kinds   []Share `json:"kinds"`   // wares by packtype, memos, and what is on each shelf; largest first
	Holders []Share `json:"holders"` // of wares and memos: each counts for one
	Largest []Item  `json:"largest"` // wares
}

// A Share is a part of it.
type Share struct {
	Name string `json:"name"`
	Amount
}

// Look says what takes how much room. It changes nothing.
func Look(ctx context.Context, o Options) (*Survey, error) {
	o.DryRun = true
	c := newCollection(ctx, o)
	c.holders = map[holder]string{}
	if err := c.survey(); err != nil {
		return nil, fmt.Errorf("look at the warehouse: %w", err)
	}
	s := &Survey{Total: c.total}
	kinds, holders := shares{}, shares{}
	for i := range c.wares {
		w := &c.wares[i]
		name := w.id.Packtype + " wares"
		if w.alias {
			name = w.id.Packtype + " aliases"
		}
		kinds.add(name, w.disk)
		holders.add(c.holderOf(w), w.disk)
		if !w.alias {
			s.Largest = append(s.Largest, Item{Kind: KindWare, Name: w.id.String(), Disk: w.disk, Used: time.Unix(w.used, 0).UTC()})
		}
		if len(s.Largest) == 2*largest {
			s.Largest = keepLargest(s.Largest)
		}
	}
	s.Largest = keepLargest(s.Largest)
	for i := range c.memos {
		kinds.add("memos", c.memos[i].disk)
		name := c.holders[holder{memo: c.memos[i].key}]
		holders.add(cmp.Or(name, heldByMemos), c.memos[i].disk)
	}
	for _, t := range c.things {
		kinds.add(string(t.item.Kind), t.item.Disk)
	}
	s.Kinds, s.Holders = kinds.sorted(), holders.sorted()
	return s, nil
}

// A holder is what a formula in use holds: a ware or a memo.
type holder struct {
	ware warehouse.WareID
	memo [32]byte
}

// What holds wares that no formula in use does.
const (
	heldByMemos  = "memos of no formula in use"
	heldByKilns  = "kilns at work"
	heldByNobody = "nothing: packed, fetched or of earlier runs"
)

func (c *collection) holderOf(w *ware) string {
	switch name := c.holders[holder{ware: w.id}]; {
	case name != "":
		return name
	case w.rooted:
		return heldByKilns
	case w.refs > 0:
		return heldByMemos
	}
	return heldByNobody
}

// holds notes that a formula holds a ware, and a tree with its alias.
func (c *collection) holds(i int32, name string) {
	w := &c.wares[i]
	if key := (holder{ware: w.id}); c.holders[key] == "" {
		c.holders[key] = name
	}
	if w.tree >= 0 && w.tree != i {
		c.holds(w.tree, name)
	}
}

const largest = 100

func keepLargest(items []Item) []Item {
	slices.SortFunc(items, func(a, b Item) int {
		return cmp.Or(cmp.Compare(b.Disk, a.Disk), cmp.Compare(a.Name, b.Name))
	})
	return items[:min(len(items), largest)]
}

type shares map[string]Amount

func (s shares) add(name string, disk int64) {
	a := s[name]
	s[name] = Amount{a.Count + 1, a.Disk + disk}
}

func (s shares) sorted() []Share {
	list := []Share{}
	for _, name := range slices.Sorted(maps.Keys(s)) {
		list = append(list, Share{name, s[name]})
	}
	slices.SortStableFunc(list, func(a, b Share) int { return cmp.Compare(b.Disk, a.Disk) })
	return list
}
