package serve

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/warehouse"
)

// promiseTime is for how long at least `kiln gc` leaves what clients were told is here.
const promiseTime = 10 * time.Minute

// promises keep wares of this machine from being collected that clients were told of. They
// hold them by leases, as a run does. A lease takes promises for a while, and when the last
// of them has been kept for as long it is given up: a server that runs for months holds no
// more than what it was asked for lately.
type promises struct {
	dir  string        // of the warehouse
	last time.Duration // each

	mu    sync.Mutex
	now   *lease // nil: none takes promises
	open  map[*lease]bool
	ended bool
}

// A lease is a warehouse that was opened to hold wares in it. If that cannot be written to,
// who collects it does so elsewhere, and nothing is held.
type lease struct {
	wares *warehouse.Local // nil: nothing is held
	held  map[warehouse.WareID]bool
}

func openLease(dir string) (*lease, error) {
	l := &lease{held: map[warehouse.WareID]bool{}}
	_, err := os.Stat(filepath.Join(dir, "record"))
	if err == nil { // it is not made by being looked at
		l.wares, err = warehouse.OpenLocal(dir)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EROFS) {
		err = nil
	}
	return l, err
}

// hold holds a ware. The error matches warehouse.ErrMissing if it is not there any more.
func (l *lease) hold(id warehouse.WareID) error {
	if l.wares == nil || l.held[id] {
		return nil
	}
	err := l.wares.Hold(id)
	l.held[id] = err == nil
	return err
}

func (l *lease) close() {
	if l.wares != nil {
		l.wares.Close()
	}
}

// make promises that a ware stays for a while. The error matches warehouse.ErrMissing if
// it is not there any more.
func (p *promises) make(id warehouse.WareID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return nil
	}
	if p.now == nil {
		l, err := openLease(p.dir)
		if err != nil {
			return err
		}
		p.now = l
		p.open[l] = true
		time.AfterFunc(p.last, func() { p.full(l) })
	}
	return p.now.hold(id)
}

// full has a lease take no more promises, and waits until those that it took are old.
func (p *promises) full(l *lease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = nil
	time.AfterFunc(p.last, func() { p.drop(l) })
}

func (p *promises) drop(l *lease) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open[l] {
		l.close()
		delete(p.open, l)
	}
}

// end gives all up.
func (p *promises) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	for l := range p.open {
		l.close()
	}
	clear(p.open)
}

// promise reports whether a ware of this machine is there, and then it stays for a while.
func (s *Server) promise(id warehouse.WareID) bool {
	err := s.local.promises.make(id)
	if err != nil && !errors.Is(err, warehouse.ErrMissing) {
		s.log.printf("hold %s against a collection: %v", id, err)
		return true // it was there
	}
	return err == nil
}

// holding does something with a ware that may take longer than a promise lasts.
func (s *Server) holding(id warehouse.WareID, f func() error) error {
	l, err := openLease(s.local.wares.Dir())
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.hold(id); err != nil {
		return err
	}
	return f()
}
