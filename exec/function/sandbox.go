package function

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/container/wire"
	"github.com/kilnbuild/kiln/internal/embedded"
	"github.com/kilnbuild/kiln/warehouse"
)

// A Sandbox is one user namespace, with an empty network, in which containers of
// functions are made. It serves any number of executors at once.
type Sandbox struct {
	local *warehouse.Local
	x     *container.Executor

	mu        sync.Mutex
	next      int64
	processes map[int64]*boxed
	groups    []*container.Group // that the kernel was not done with
	gone      error              // set when the executor has ended
	drained   chan struct{}
}

// Open enters a sandbox whose containers are made of wares in l. The error is a
// *container.Refused where the system does not allow it.
func Open(l *warehouse.Local) (*Sandbox, error) {
	executor, err1 := embedded.Executor()
	enter, err2 := embedded.Enter()
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("open sandbox: %w", err)
	}
	return OpenWith(l, container.Binaries{Executor: executor, Enter: enter})
}

// OpenWith is Open with executables that the caller has.
func OpenWith(l *warehouse.Local, b container.Binaries) (*Sandbox, error) {
	var id [8]byte
	rand.Read(id[:])
	x, err := container.Start(container.Config{
		Binaries: b, Warehouse: l.Dir(), Run: "function-" + hex.EncodeToString(id[:]), MaxPIDs: maxPIDs,
	})
	if err != nil {
		return nil, fmt.Errorf("open sandbox: %w", err)
	}
	s := &Sandbox{local: l, x: x, processes: map[int64]*boxed{}, drained: make(chan struct{})}
	go s.dispatch()
	return s, nil
}

// maxPIDs is how many processes a sandbox may have, whatever its functions may.
const maxPIDs = 4096

// Close ends what runs in the sandbox and leaves it. Calls that were under way fail.
func (s *Sandbox) Close() {
	s.mu.Lock()
	if s.gone == nil {
		s.gone = errClosed
	}
	s.mu.Unlock()
	s.x.Close()
	<-s.drained
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.groups {
		g.Remove()
	}
}

var errClosed = errors.New("the sandbox was closed")

// dispatch hands what the executor says to the processes it is about.
func (s *Sandbox) dispatch() {
	defer close(s.drained)
	for frame := range s.x.Events() {
		if frame.Kind == wire.KindLog {
			id, data := frame.Log()
			if p := s.process(id); p != nil {
				p.log(data)
			}
			continue
		}
		var head struct{ ID int64 }
		if frame.Decode(&head) == nil {
			if p := s.process(head.ID); p != nil {
				p.handle(frame)
			}
		}
	}
	s.mu.Lock()
	closed := s.gone != nil
	s.mu.Unlock()
	why := errClosed
	if !closed {
		why = s.x.Gone()
	}
	s.mu.Lock()
	s.gone = why
	left := s.processes
	s.processes = nil
	s.mu.Unlock()
	for _, p := range left {
		p.over(why)
	}
}

// why returns what happened to the sandbox in place of the error of a message that
// could not be sent.
func (s *Sandbox) why(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone != nil {
		return s.gone
	}
	return err
}

func (s *Sandbox) process(id int64) *boxed {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.processes[id]
}

// enroll gives a process its id. The error says why the sandbox is gone.
func (s *Sandbox) enroll(p *boxed) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone != nil {
		return s.gone
	}
	s.next++
	p.id = s.next
	s.processes[p.id] = p
	return nil
}

// forget removes a process that is over, and its group.
func (s *Sandbox) forget(p *boxed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.processes, p.id)
	kept := s.groups[:0]
	for _, g := range append(s.groups, p.group) {
		if !g.Remove() {
			kept = append(kept, g)
		}
	}
	s.groups = kept
}
