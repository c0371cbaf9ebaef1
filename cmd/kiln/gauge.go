package main

import (
	"context"
	"time"
)

// A gauge shows on the terminal how far something has come that takes longer than a
// second, and nothing elsewhere. All of its methods may be called at any time from any
// goroutine, also on nil.
type gauge struct {
	s     *story
	act   *activity
	calm  func() bool
	ended func()

	closed bool
}

// gaugePatience is how long something takes that needs no progress bar.
const gaugePatience = time.Second

// newGauge begins to show what verb does, "packing". The caller ends it with close.
func (a *app) newGauge(ctx context.Context, name, verb string, total int64) *gauge {
	if a.terminal() == nil {
		return nil
	}
	s := a.newStory(false)
	g := &gauge{s: s, act: &activity{name: name, doing: verb, since: s.clock(), total: total}}
	s.mu.Lock()
	s.patience = gaugePatience
	s.active = append(s.active, g.act)
	s.mu.Unlock()
	g.calm = context.AfterFunc(ctx, s.calm)
	g.ended = a.tellThrough(s)
	return g
}

// close takes it off the terminal, if it is still there.
func (g *gauge) close() {
	if g != nil && !g.closed {
		g.closed = true
		g.calm()
		g.ended()
		g.s.close()
	}
}

// at says that done bytes, or whatever the total counts, are done.
func (g *gauge) at(done int64) {
	if g != nil {
		g.s.mu.Lock()
		defer g.s.mu.Unlock()
		g.act.done = done
	}
}

// of is at with the total, which has become known.
func (g *gauge) of(done, total int64) {
	if g != nil {
		g.s.mu.Lock()
		defer g.s.mu.Unlock()
		g.act.done, g.act.total = done, total
		g.act.speed.at(done, g.s.clock())
	}
}

// doing says that something else is being done, of which no total is known.
func (g *gauge) doing(verb string, done int64) {
	if g != nil {
		g.s.mu.Lock()
		defer g.s.mu.Unlock()
		g.act.doing, g.act.done, g.act.total = verb, done, -1
	}
}

// next says what is being done now.
func (g *gauge) next(name string, total int64) {
	if g != nil {
		g.s.mu.Lock()
		defer g.s.mu.Unlock()
		g.act.name, g.act.done, g.act.total = name, 0, total
	}
}

// entries is at as package pack calls it.
func (g *gauge) entries(_, bytes int64) { g.at(bytes) }

// aside takes the gauge off the terminal while f prints to stdout, which may be the
// same one.
func (g *gauge) aside(f func()) {
	if g == nil {
		f()
		return
	}
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	if g.s.live != nil {
		g.s.live.write(nil, nil)
	}
	f()
}
