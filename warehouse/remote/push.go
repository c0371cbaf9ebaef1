package remote

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/kilnbuild/kiln/warehouse"
)

// A Made is a step that has ended well and is remembered here.
type Made struct {
	Memo  warehouse.Memo
	Early warehouse.StepKey  // its memo is kept under this one too, as plan.EarlyKeys has it; "": it has none
	Took  []warehouse.WareID // what it took that was fetched
	Final bool               // one of the formula's outputs is its own
}

// pushJobs is how many steps are pushed at a time: their wares are mostly small, and
// waiting for answers is most of the work.
const pushJobs = 8

// A Pusher pushes what steps have made while others still run. What goes wrong with it
// is no failure of a run: the Set warns of it, once for each warehouse.
type Pusher struct {
	set   *Set
	ctx   context.Context
	tell  func(left int)
	slots chan struct{}
	work  sync.WaitGroup
	mu    sync.Mutex
	left  int
	err   error // the first failure
	wares map[pushKey]*pushOnce
}

type pushKey struct {
	m  *member
	id warehouse.WareID
}

type pushOnce struct {
	once sync.Once
	err  error
}

// Pushes reports whether there is a warehouse that takes anything.
func (s *Set) Pushes() bool {
	return s != nil && slices.ContainsFunc(s.members, func(m *member) bool { return m.takes(true) })
}

func (m *member) takes(final bool) bool {
	return m.Push == PushAll || m.Push == PushOutputs && final
}

// takesNothing reports whether the warehouse has said that it is for reading only.
func (m *member) takesNothing() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

// NewPusher makes a Pusher that stops when ctx ends. tell, if not nil, is told how many
// steps are left to push, one call at a time.
func (s *Set) NewPusher(ctx context.Context, tell func(left int)) *Pusher {
	return &Pusher{set: s, ctx: ctx, tell: tell, slots: make(chan struct{}, pushJobs), wares: map[pushKey]*pushOnce{}}
}

// Add pushes what a step has made, behind the caller's back.
func (p *Pusher) Add(made Made) {
	for _, m := range p.set.members {
		if !m.takes(made.Final) || made.Memo.Origin == m.URL {
			continue
		}
		p.count(1)
		p.work.Go(func() {
			p.slots <- struct{}{}
			p.push(m, made)
			<-p.slots
			p.count(-1)
		})
	}
}

// Wait returns when all that was added has been pushed, or could not be: then with the
// first reason, of which the Set has warned.
func (p *Pusher) Wait() error {
	p.work.Wait()
	return p.err
}

func (p *Pusher) failed(m *member, err error) {
	p.mu.Lock()
	if p.err == nil {
		p.err = fmt.Errorf("push to warehouse %s: %w", m.Name, err)
	}
	p.mu.Unlock()
	p.set.pushFailed(p.ctx, m, err)
}

func (p *Pusher) count(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left += n
	if p.tell != nil {
		p.tell(p.left)
	}
}

// push puts a step's wares into a warehouse, and when they are there its memo.
func (p *Pusher) push(m *member, made Made) {
	if m.takesNothing() {
		return
	}
	ids := slices.Collect(maps.Values(made.Memo.Outputs))
	if m.Push == PushAll {
		ids = append(ids, made.Took...)
	}
	for _, id := range ids {
		if err := p.ware(m, id); err != nil {
			return // the Set has told why
		}
	}
	if err := p.memo(m, made.Memo, made.Early); err != nil {
		p.failed(m, err)
	}
}

// ware pushes a ware once.
func (p *Pusher) ware(m *member, id warehouse.WareID) error {
	p.mu.Lock()
	o := p.wares[pushKey{m, id}]
	if o == nil {
		o = new(pushOnce)
		p.wares[pushKey{m, id}] = o
	}
	p.mu.Unlock()
	o.once.Do(func() {
		if o.err = p.set.put(p.ctx, m, id, nil); o.err != nil {
			p.failed(m, o.err)
		}
	})
	return o.err
}

// put puts a ware of the local warehouse into a warehouse.
func (s *Set) put(ctx context.Context, m *member, id warehouse.WareID, progress func(done, total int64)) error {
	store, err := s.reach(ctx, m, id)
	if err != nil {
		return err
	}
	rec, err := s.o.Local.Get(id)
	if err != nil {
		return err
	}
	return store.Put(ctx, rec, s.o.Local, warehouse.Transfer{Progress: progress, CacheDir: s.o.CacheDir})
}

// memo pushes a memo whose wares are there.
func (p *Pusher) memo(m *member, memo warehouse.Memo, early warehouse.StepKey) error {
	if !m.Memos || !memo.MayBeShared() {
		return nil
	}
	if p.set.o.Secret == nil {
		p.set.warn("memos are not pushed to warehouse %s: there is no key to sign them with (kiln key new makes one)", m.Name)
		return nil
	}
	for name, id := range memo.Outputs {
		if id.Packtype == "tree" {
			continue
		}
		rec, err := p.set.o.Local.Get(id)
		if err != nil {
			return err
		}
		trees := maps.Clone(memo.Trees)
		if trees == nil {
			trees = map[string]warehouse.WareID{}
		}
		trees[name] = rec.Tree
		memo.Trees = trees
	}
	sealed, err := p.set.o.Secret.Seal(memo)
	if err != nil {
		return err
	}
	store, err := m.use(p.ctx)
	if err != nil {
		return err
	}
	return inTime(p.ctx, func(ctx context.Context) error {
		err := store.PutMemo(ctx, memo.Key, sealed)
		if err == nil && early != "" && early != memo.Key {
			err = store.PutMemo(ctx, early, sealed)
		}
		return err
	})
}

// pushFailed notes why something was not pushed. What is about the one ware leaves the
// warehouse in use.
func (s *Set) pushFailed(ctx context.Context, m *member, err error) {
	here := (*warehouse.HereError)(nil)
	switch {
	case ctx.Err() != nil:
	case errors.As(err, &here) && noRoom(err):
		s.warn("not everything is pushed to warehouse %s: this machine has no room in %s to pack it", m.Name, here.Dir)
	case errors.Is(err, warehouse.ErrReadOnly):
		m.mu.Lock()
		first := !m.closed
		m.closed = true
		m.mu.Unlock()
		if first {
			s.warn("nothing is pushed to warehouse %s: %v", m.Name, err)
		}
	case errors.Is(err, warehouse.ErrMissing), here != nil:
		s.warn("not pushed to warehouse %s: %v", m.Name, err)
	default:
		s.leave(ctx, m, err)
	}
}

// Put pushes one ware to the warehouse of a name on request, whatever its policy.
func (s *Set) Put(ctx context.Context, name string, id warehouse.WareID, progress func(done, total int64)) error {
	for _, m := range s.members {
		if m.Name == name {
			if err := s.put(ctx, m, id, progress); err != nil {
				return fmt.Errorf("push %s to warehouse %s: %w", id, name, err)
			}
			return nil
		}
	}
	return fmt.Errorf("push %s: there is no warehouse %q", id, name)
}
