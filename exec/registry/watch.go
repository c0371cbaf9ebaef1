package registry

import (
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A Watch tells when something in a run's directory may have changed.
type Watch struct {
	C     <-chan struct{}
	file  *os.File // inotify; nil where there is none
	timer *time.Ticker
	done  chan struct{}
}

// How often a run's directory is looked at although nothing was told: on file systems
// of other machines nothing is, and without inotify nothing ever.
const (
	lookAnyway = 500 * time.Millisecond
	lookOften  = 20 * time.Millisecond
)

// Watch watches a run's directory until Close.
func (g *Registry) Watch(id string) *Watch {
	c := make(chan struct{}, 1)
	w := &Watch{C: c, done: make(chan struct{})}
	interval := lookAnyway
	if w.file = inotify(g.Dir(id)); w.file == nil {
		interval = lookOften
	}
	w.timer = time.NewTicker(interval)
	tell := func() {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	go func() {
		for {
			select {
			case <-w.timer.C:
				tell()
			case <-w.done:
				return
			}
		}
	}()
	if w.file != nil {
		go func() {
			buf := make([]byte, 4096)
			for {
				if _, err := w.file.Read(buf); err != nil {
					return
				}
				tell()
			}
		}()
	}
	return w
}

// inotify watches a directory, or returns nil: a user may have only so many watches.
func inotify(dir string) *os.File {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil
	}
	// What was open for writing is closed when its process dies: that is told too.
	const events = unix.IN_MODIFY | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_CLOSE_WRITE | unix.IN_DELETE | unix.IN_DELETE_SELF
	if _, err := unix.InotifyAddWatch(fd, dir, events); err != nil {
		unix.Close(fd)
		return nil
	}
	return os.NewFile(uintptr(fd), "inotify")
}

// Close stops the watch.
func (w *Watch) Close() error {
	close(w.done)
	w.timer.Stop()
	if w.file == nil {
		return nil
	}
	return errors.Join(w.file.Close())
}
