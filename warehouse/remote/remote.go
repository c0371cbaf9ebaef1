// Package remote is all warehouses beyond this machine together, as the person has
// configured them: wares are fetched from the first that gives them, memos are believed
// if a trusted key has signed them, and what steps make is pushed to those that take
// it. One that cannot be reached is left alone for the rest of the process. How each
// keeps things is its Store's business.
package remote

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/seal"
	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"
)

// Push says what runs put into a warehouse.
type Push string

// What runs can put into one.
const (
	PushNever   Push = "never"
	PushOutputs Push = "outputs" // the wares of the formula's outputs, and the memos of the steps that made them
	PushAll     Push = "all"     // what every step made, its memo, and the fetched wares it took
)

// A Warehouse is one of a Set.
type Warehouse struct {
	Name  string // for messages
	URL   string // without credentials
	Read  bool   // wares are fetched from it
	Memos bool   // its memos count, and memos are pushed to it
	Push  Push
	Open  func(context.Context) (warehouse.Store, error) // called when it is first needed
}

// Options says what a Set is made of.
type Options struct {
	Warehouses []Warehouse // in the order in which they are asked
	Local      *warehouse.Local
	Memos      *warehouse.Memos    // memos from elsewhere are kept here too; may be nil
	Trusted    func(seal.Key) bool // whether the memos that a key has signed count
	Secret     *seal.Secret        // signs memos that are pushed; nil: none are
	CacheDir   string              // for parts of what is being fetched
	Warn       func(string)        // told once of each thing that did not work; may be nil
}

// A Set is safe for concurrent use. Its nil value has no warehouses.
type Set struct {
	o        Options
	members  []*member
	fetching singleflight.Group
	warned   sync.Map // texts
	trees    sync.Map // tree id by ware id, of other packtypes: what signed memos say

	found     sync.Map // memos by step key
	foreseen  sync.Map // the same, before somebody has asked for them
	nothing   sync.Map // keys under which no warehouse has a memo
	forgotten sync.Map // step keys whose memos count no more

	keeping sync.WaitGroup // memos that are being written
	queue   chan *warehouse.Memo
	closed  chan struct{}
}

// member is a warehouse and what has become of it.
type member struct {
	Warehouse
	open  sync.Mutex
	store warehouse.Store
	meet  sync.Mutex // held while it is asked for the first time
	met   bool

	mu     sync.Mutex
	down   error // why it is left alone
	closed bool  // it takes nothing that is pushed
}

// askTime is how long a warehouse may take for a small answer, tries and all: a run is
// slower for one that is as good as gone, but goes on.
const askTime = 30 * time.Second

var errSilent = fmt.Errorf("it did not answer for %s", askTime)

// inTime calls f, which wants a small answer of a warehouse.
func inTime(ctx context.Context, f func(context.Context) error) error {
	limited, cancel := context.WithTimeoutCause(ctx, askTime, errSilent)
	defer cancel()
	err := f(limited)
	if err != nil && ctx.Err() == nil && context.Cause(limited) == errSilent {
		return errSilent
	}
	return err
}

// reach returns the member's store, once it has answered something: what moves wares has
// no limit of time that could tell a dead server from a slow one.
func (s *Set) reach(ctx context.Context, m *member, id warehouse.WareID) (warehouse.Store, error) {
	m.meet.Lock()
	defer m.meet.Unlock()
	store, err := m.use(ctx)
	if err != nil || m.met {
		return store, err
	}
	err = inTime(ctx, func(ctx context.Context) error {
		_, err := store.Has(ctx, []warehouse.WareID{id})
		return err
	})
	if err == errSilent {
		s.leave(ctx, m, err)
		return nil, err
	}
	m.met = true // also if it refuses to tell
	return store, nil
}

// New makes a Set. The caller closes it. It opens nothing yet.
func New(o Options) *Set {
	s := &Set{o: o, queue: make(chan *warehouse.Memo, 64), closed: make(chan struct{})}
	if o.Memos != nil {
		go s.keep()
	}
	for _, w := range o.Warehouses {
		s.members = append(s.members, &member{Warehouse: w})
	}
	return s
}

// Close closes what was opened. What is still being asked gets an answer that nobody
// keeps.
func (s *Set) Close() error {
	if s == nil {
		return nil
	}
	s.Flush()
	close(s.closed)
	var err error
	for _, m := range s.members {
		if m.store != nil {
			err = errors.Join(err, m.store.Close())
		}
	}
	return err
}

// use returns the member's store; the error says why it is left alone.
func (m *member) use(ctx context.Context) (warehouse.Store, error) {
	m.open.Lock()
	defer m.open.Unlock()
	if err := m.gone(); err != nil || m.store != nil {
		return m.store, err
	}
	store, err := m.Open(ctx)
	if err == nil {
		m.store = store
	}
	return store, err
}

func (m *member) gone() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.down
}

// leave notes that a warehouse did not answer, and tells it once. When ctx has ended
// that says nothing of the warehouse.
func (s *Set) leave(ctx context.Context, m *member, err error) {
	if ctx.Err() != nil {
		return
	}
	m.mu.Lock()
	first := m.down == nil
	m.down = err
	m.mu.Unlock()
	if first {
		s.warn("warehouse %s is left out: %v", m.Name, err)
	}
}

// warn tells the person something, once.
func (s *Set) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if _, told := s.warned.LoadOrStore(text, true); !told && s.o.Warn != nil {
		s.o.Warn(text)
	}
}

// Fetch brings a ware into the local warehouse from the first warehouse that gives it.
// The error matches warehouse.ErrMissing if no warehouse has it, and names what each
// said if one did something else.
func (s *Set) Fetch(ctx context.Context, id warehouse.WareID, progress func(done, total int64)) (warehouse.Record, error) {
	if s == nil {
		return warehouse.Record{}, &warehouse.MissingError{What: "ware " + id.String()}
	}
	got, err, _ := s.fetching.Do(id.String(), func() (any, error) {
		if rec, err := s.o.Local.Get(id); err == nil {
			return rec, nil
		}
		return s.fetch(ctx, id, progress)
	})
	return got.(warehouse.Record), err
}

func (s *Set) fetch(ctx context.Context, id warehouse.WareID, progress func(done, total int64)) (warehouse.Record, error) {
	var failures []error
	for _, m := range s.members {
		if !m.Read {
			continue
		}
		store, err := s.reach(ctx, m, id)
		if err == nil {
			var rec warehouse.Record
			rec, err = store.Get(ctx, id, s.o.Local, warehouse.Transfer{Progress: progress, CacheDir: s.o.CacheDir})
			if err == nil {
				err = s.checkTree(rec)
			}
			if err == nil {
				return rec, nil
			}
		}
		if ctx.Err() != nil {
			return warehouse.Record{}, ctx.Err()
		}
		switch {
		case errors.Is(err, warehouse.ErrMissing):
			continue
		case noRoom(err): // which no warehouse would mend
			return warehouse.Record{}, fmt.Errorf("this machine has no room for ware %s: %w", id, err)
		case mismatch(err):
			s.warn("warehouse %s: %v", m.Name, err) // which who asked may not care for, and go elsewhere
		default:
			s.leave(ctx, m, err)
		}
		failures = append(failures, fmt.Errorf("warehouse %s: %w", m.Name, err))
	}
	missing := &warehouse.MissingError{What: "ware " + id.String()}
	if failures == nil {
		return warehouse.Record{}, missing
	}
	return warehouse.Record{}, fmt.Errorf("%w, and no warehouse gives it: %w", missing, errors.Join(failures...))
}

func noRoom(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// mismatch reports whether a warehouse has given something else.
func mismatch(err error) bool {
	return errors.Is(err, warehouse.ErrMismatch) || errors.Is(err, warehouse.ErrOtherTree)
}

// checkTree refuses a ware that is not the fileset that a signed memo has named by its
// id.
func (s *Set) checkTree(rec warehouse.Record) error {
	tree, ok := s.trees.Load(rec.ID)
	if !ok {
		return nil
	}
	if err := rec.CheckTree(tree.(warehouse.WareID), "a signed memo"); err != nil {
		return errors.Join(err, s.o.Local.Remove(rec.ID))
	}
	return nil
}

// Memo asks the warehouses for the memo of a step key, and keeps it with the local
// memos, by the time that Flush returns. It is nil if none has one that is to be believed.
func (s *Set) Memo(ctx context.Context, key warehouse.StepKey) *warehouse.Memo {
	if s == nil || s.isForgotten(key) {
		return nil
	}
	if memo, known := s.found.Load(key); known {
		return memo.(*warehouse.Memo)
	}
	var memo *warehouse.Memo
	if foreseen, ok := s.foreseen.Load(key); ok {
		memo = foreseen.(*warehouse.Memo)
	} else {
		memo = s.ask(ctx, key, func(sealed []byte) (*warehouse.Memo, error) { return seal.Open(sealed, key, s.o.Trusted) })
	}
	if memo == nil {
		return nil
	}
	s.learn(memo)
	s.found.Store(key, memo)
	if s.o.Memos != nil {
		s.keeping.Add(1)
		select {
		case s.queue <- memo:
		case <-s.closed: // the run was over before the answer came
			s.keeping.Done()
		}
	}
	return memo
}

// Foresee asks the warehouses for the memo that was pushed with an early key, so that
// Memo has it at hand when the step's own key is known, if that is the memo's.
func (s *Set) Foresee(ctx context.Context, early warehouse.StepKey) {
	if s == nil {
		return
	}
	memo := s.ask(ctx, early, func(sealed []byte) (*warehouse.Memo, error) { return seal.OpenAny(sealed, s.o.Trusted) })
	if memo != nil {
		s.foreseen.Store(memo.Key, memo)
	}
}

// ask asks the warehouses for a memo by its step key, or an early one. It is nil if none
// has one that open takes and that others may rely on.
func (s *Set) ask(ctx context.Context, name warehouse.StepKey, open func(sealed []byte) (*warehouse.Memo, error)) *warehouse.Memo {
	if _, known := s.nothing.Load(name); known {
		return nil
	}
	for _, m := range s.members {
		if !m.Memos || !m.Read {
			continue
		}
		store, err := m.use(ctx)
		if err != nil {
			s.leave(ctx, m, err)
			continue
		}
		var sealed []byte
		err = inTime(ctx, func(ctx context.Context) (err error) {
			sealed, err = store.Memo(ctx, name)
			return err
		})
		if err != nil {
			if !errors.Is(err, warehouse.ErrMissing) {
				s.leave(ctx, m, err)
			}
			continue
		}
		memo, err := open(sealed)
		if err == nil && !memo.MayBeShared() {
			err = errors.New("its step could reach a network")
		}
		if err != nil {
			s.warn("warehouse %s: a memo is ignored: %v", m.Name, err)
			continue
		}
		memo.Origin = m.URL
		return memo
	}
	if ctx.Err() == nil {
		s.nothing.Store(name, true)
	}
	return nil
}

// keep writes memos that were found with the local ones: behind the back of who asked,
// since in a chain of steps each key waits for the memo before.
func (s *Set) keep() {
	for {
		select {
		case memo := <-s.queue:
			if err := s.o.Memos.Put(*memo); err != nil {
				s.warn("%v", err)
			}
			s.keeping.Done()
		case <-s.closed:
			return
		}
	}
}

// Flush returns when all memos that were found are with the local ones.
func (s *Set) Flush() {
	if s != nil {
		s.keeping.Wait()
	}
}

// Forget makes memos of a step key count no more: what they name cannot be had.
func (s *Set) Forget(key warehouse.StepKey) {
	if s != nil {
		s.forgotten.Store(key, true)
	}
}

func (s *Set) isForgotten(key warehouse.StepKey) bool {
	_, forgotten := s.forgotten.Load(key)
	return forgotten
}

// Reaches reports whether the wares of a memo that came from elsewhere may still be
// had there.
func (s *Set) Reaches(memo *warehouse.Memo) bool {
	if s == nil || memo.Origin == "" || s.isForgotten(memo.Key) {
		return false
	}
	for _, m := range s.members {
		if m.URL == memo.Origin && m.Read && m.gone() == nil {
			s.learn(memo)
			return true
		}
	}
	return false
}

// Any reports whether there is a warehouse to ask.
func (s *Set) Any() bool {
	if s == nil {
		return false
	}
	for _, m := range s.members {
		if m.Read && m.gone() == nil {
			return true
		}
	}
	return false
}

func (s *Set) learn(memo *warehouse.Memo) {
	for name, tree := range memo.Trees {
		s.trees.Store(memo.Outputs[name], tree)
	}
}
