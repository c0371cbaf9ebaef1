package registry

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// sessionPrefix begins the names of the files that say which kilns that submit runs are
// alive: such a file is locked as long as its kiln is.
const sessionPrefix = ".session-"

// Session begins a session, which lasts until the process ends or end is called, and
// returns its name. It removes what sessions that have died left.
func (g *Registry) Session() (name string, end func(), err error) {
	if err := os.MkdirAll(g.dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("begin session: %w", err)
	}
	left, _ := filepath.Glob(filepath.Join(g.dir, sessionPrefix+"*"))
	for _, path := range left {
		if !locked(path) {
			os.Remove(path)
		}
	}
	for {
		name = NewID()
		path := filepath.Join(g.dir, sessionPrefix+name)
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return "", nil, fmt.Errorf("begin session: %w", err)
		}
		if err := flock(f, unix.LOCK_EX); err != nil { // one that looks whether it is locked may be first
			f.Close()
			return "", nil, fmt.Errorf("begin session: %w", err)
		}
		if info, err := os.Stat(path); err == nil {
			if own, err := f.Stat(); err == nil && os.SameFile(info, own) {
				return name, func() { os.Remove(path); f.Close() }, nil
			}
		}
		f.Close() // another one took it for a dead one's
	}
}

// SessionAlive reports whether the kiln of a session still runs.
func (g *Registry) SessionAlive(name string) bool {
	return validID(name) && locked(filepath.Join(g.dir, sessionPrefix+name))
}

func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return flock(f, unix.LOCK_SH|unix.LOCK_NB) != nil
}
