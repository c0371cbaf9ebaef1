package keep

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// pledge sets n bytes of room aside for what is going to be written, and makes it
// first: what was used longest ago goes. Where there is any need to, a twentieth of the
// limit is freed at once. The error matches ErrFull.
func (s *Store) pledge(n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.pledged+n > s.max {
			return fmt.Errorf("%w: %d bytes beside %d that are being written would exceed the limit of %d",
				ErrFull, n, s.pledged, s.max)
		}
		over := s.used + s.pledged + n - s.max
		if over <= 0 {
			s.pledged += n
			return nil
		}
		if over <= s.going {
			s.freed.Wait()
			continue
		}
		if s.oldest == nil {
			return fmt.Errorf("%w: files in %s cannot be removed", ErrFull, s.dir)
		}
		s.remove(s.setAside(over - s.going + s.max/20))
	}
}

// unpledge gives back what was set aside and not needed.
func (s *Store) unpledge(n int64) {
	s.mu.Lock()
	s.pledged -= n
	s.mu.Unlock()
}

// setAside takes the entries used longest ago out of the store, n bytes of room or
// what there is, and returns the files' new paths and the room of each.
func (s *Store) setAside(n int64) map[string]int64 {
	aside := map[string]int64{}
	for e := s.oldest; e != nil && n > 0; e = s.oldest {
		n -= room(e.bytes)
		if path := s.drop(e); path != "" {
			aside[path] = room(e.bytes)
		}
		s.evicted++
	}
	return aside
}

// drop takes an entry out of the store. Its file gets another name, which is quick, and
// its room counts until remove has removed that.
func (s *Store) drop(e *entry) string {
	s.unlink(e)
	delete(s.there, e.key)
	path := s.tempPath()
	err := os.Rename(s.path(e.key), path)
	if errors.Is(err, fs.ErrNotExist) {
		s.used -= room(e.bytes) // somebody has removed it
	}
	if err != nil {
		return "" // it stays there and counts until the next start
	}
	s.going += room(e.bytes)
	return path
}

// remove removes files that drop put aside. It lets go of the lock meanwhile.
func (s *Store) remove(aside map[string]int64) {
	s.mu.Unlock()
	var freed int64
	for path, n := range aside {
		if err := os.Remove(path); err == nil || errors.Is(err, fs.ErrNotExist) {
			freed += n
		}
	}
	s.mu.Lock()
	for _, n := range aside {
		s.going -= n
	}
	s.used -= freed
	s.freed.Broadcast()
}

func (s *Store) tempPath() string {
	s.temp++
	return filepath.Join(s.tempDir(), strconv.FormatUint(s.temp, 10))
}

// lookUp finds an entry and makes it the newest.
func (s *Store) lookUp(k key) *entry {
	e := s.there[k]
	if e == nil {
		return nil
	}
	if e != s.newest {
		s.unlink(e)
		s.push(e)
	}
	if now := time.Now(); now.Sub(time.Unix(e.stamped, 0)).Abs() > stampEvery {
		e.stamped = now.Unix()
		ts := unix.NsecToTimespec(now.UnixNano())
		// Without it the order after a restart is less good, no more.
		_ = unix.UtimesNanoAt(unix.AT_FDCWD, s.path(k), []unix.Timespec{ts, ts}, 0)
	}
	return e
}

// forget removes an entry whose file is not what it should be. It must still be e.
func (s *Store) forget(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.there[e.key] != e {
		return
	}
	if path := s.drop(e); path != "" {
		s.remove(map[string]int64{path: room(e.bytes)})
	}
}

// noRoom makes ErrFull of what file systems say of it.
func noRoom(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w on the disk: %w", ErrFull, err)
	}
	return err
}

// openFile opens the file of an entry, which may have gone meanwhile.
func (s *Store) openFile(e *entry) (*os.File, error) {
	f, err := os.Open(s.path(e.key))
	if errors.Is(err, fs.ErrNotExist) {
		s.forget(e)
		return nil, ErrMissing
	}
	return f, err
}
