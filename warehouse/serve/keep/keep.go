// Package keep keeps what clients of a server hand in: objects by the SHA-256 of their
// content, and small values by name, in a directory that stays below a size limit.
// What was used longest ago goes first. It knows nothing of what the objects are.
package keep

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Errors that callers tell apart.
var (
	// ErrMissing says that there is no such object or value.
	ErrMissing = errors.New("not kept here")
	// ErrMismatch says that content is not what its digest says.
	ErrMismatch = errors.New("content does not match its digest")
	// ErrFull says that the limit, or the disk, leaves no room.
	ErrFull = errors.New("no room")
	// ErrLocked says that another process has the directory.
	ErrLocked = errors.New("another process uses it")
)

// A Sum is a SHA-256.
type Sum [sha256.Size]byte

// ParseSum reads 64 lower-case hex digits.
func ParseSum(s string) (Sum, error) {
	var sum Sum
	if len(s) == 2*len(sum) {
		if _, err := hex.Decode(sum[:], []byte(s)); err == nil && sum.String() == s {
			return sum, nil
		}
	}
	return Sum{}, fmt.Errorf("%.80q: want 64 hex digits in lower case", s)
}

func (s Sum) String() string { return hex.EncodeToString(s[:]) }

// kind is a folder of the directory.
type kind uint8

// A Space is a kind of value, each with names of its own.
type Space = kind

// The folders.
const (
	objects kind = iota
	Actions      // results by action
	Names        // sums of objects by what they are called
	Memos        // sealed memos by step key
	kinds
)

var folders = [kinds]string{"cas", "ac", "name", "memo"}

type key struct {
	kind kind
	sum  Sum
}

// An entry is a file that is there. Entries form a list by use.
type entry struct {
	key
	bytes        int64 // of the file
	checked      bool  // this process has seen that the content is right
	stamped      int64 // the file's mtime, seconds: when it was used, roughly
	newer, older *entry
}

// room is what a file of n bytes costs: file systems give whole blocks.
func room(n int64) int64 { return (n + block - 1) &^ (block - 1) }

const block = 4096

// stampEvery is how exactly the time of use survives a restart.
const stampEvery = 10 * time.Minute

// A Store keeps objects and values. Its methods are safe for concurrent use by one
// process, which holds a lock on the directory.
type Store struct {
	dir  string
	max  int64
	lock *os.File

	mu      sync.Mutex
	freed   *sync.Cond // going has become less
	there   map[key]*entry
	newest  *entry
	oldest  *entry
	used    int64 // room of files that are there or going
	going   int64 // room of files that are being removed
	pledged int64 // room of files that are being written
	evicted int64 // how many files had to go, ever
	temp    uint64
}

// Open opens the store in dir, creating it if need be, for at most max bytes. It sweeps
// what a killed process left. The error matches ErrLocked when another has it open.
func Open(dir string, max int64) (*Store, error) {
	s := &Store{dir: dir, max: max, there: map[key]*entry{}}
	s.freed = sync.NewCond(&s.mu)
	if err := s.open(); err != nil {
		if s.lock != nil {
			s.lock.Close()
		}
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	return s, nil
}

func (s *Store) open() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	var err error
	if s.lock, err = os.OpenFile(filepath.Join(s.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return err
	}
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if err == unix.EWOULDBLOCK {
			return ErrLocked
		}
		return err
	}
	if err := os.RemoveAll(s.tempDir()); err != nil {
		return err
	}
	if err := os.Mkdir(s.tempDir(), 0o700); err != nil {
		return err
	}
	if err := s.scan(); err != nil {
		return err
	}
	return s.pledge(0)
}

// Close gives up the lock. What is being read stays readable.
func (s *Store) Close() error { return s.lock.Close() }

func (s *Store) tempDir() string { return filepath.Join(s.dir, "tmp") }

func (s *Store) path(k key) string {
	hash := k.sum.String()
	return filepath.Join(s.dir, folders[k.kind], hash[:2], hash)
}

// Stats tells how full a store is.
type Stats struct {
	Bytes   int64 // on disk, whole blocks
	Max     int64
	Entries int64
	Evicted int64 // since it was opened
}

// Stats returns how full the store is now.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Bytes: s.used, Max: s.max, Entries: int64(len(s.there)), Evicted: s.evicted}
}
