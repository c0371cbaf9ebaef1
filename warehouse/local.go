package warehouse

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A Local is the warehouse of this user on this machine: a directory that holds
// unpacked filesets by ware id. Its methods are safe for concurrent use, also by
// several processes that see the directory at different paths.
type Local struct {
	dir    string
	mu     sync.Mutex // beside flock, which does not exclude goroutines of one process
	lock   *os.File
	staged atomic.Uint64
	salt   string // of this process: makes staged names unique between processes
}

// OpenLocal opens the warehouse in dir, creating what is missing of it. The caller
// closes it.
func OpenLocal(dir string) (*Local, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open warehouse: %w", err)
	}
	l := &Local{dir: dir, salt: salt()}
	for _, sub := range []string{"fileset", "record", "work"} {
		if err := makeDir(filepath.Join(dir, sub)); err != nil {
			return nil, fmt.Errorf("open warehouse: %w", err)
		}
	}
	l.lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open warehouse: %w", err)
	}
	return l, nil
}

// makeDir creates path and its parents. A new directory sheds a set-group-id bit
// inherited from its parent, which every fileset made below would inherit too.
func makeDir(path string) error {
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode()&fs.ModeSetgid == 0 {
		return err
	}
	return os.Chmod(path, info.Mode().Perm())
}

func salt() string {
	var b [6]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Close releases the warehouse. Filesets already handed out stay valid.
func (l *Local) Close() error { return l.lock.Close() }

// Dir returns the absolute directory of the warehouse.
func (l *Local) Dir() string { return l.dir }

// WorkDir returns the directory below which Stage makes directories. It is on the
// file system of the filesets, so that what was made there can be renamed.
func (l *Local) WorkDir() string { return filepath.Join(l.dir, "work") }

// Stage makes an empty directory below WorkDir, mode 0700, whose name begins with
// prefix and the process id. The caller commits or removes it.
func (l *Local) Stage(prefix string) (string, error) {
	for {
		dir := filepath.Join(l.dir, "work", l.stageName(prefix))
		err := os.Mkdir(dir, 0o700)
		if err == nil {
			return dir, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", fmt.Errorf("stage in warehouse: %w", err)
		}
	}
}

func (l *Local) stageName(prefix string) string {
	return prefix + "-" + strconv.Itoa(os.Getpid()) + "-" + l.salt + "-" + strconv.FormatUint(l.staged.Add(1), 10)
}

// Sync makes everything committed so far durable: it flushes the file system the
// warehouse lies on. Commit alone survives a killed process, not a power cut.
func (l *Local) Sync() error {
	if err := retry(func() error { return unix.Syncfs(int(l.lock.Fd())) }); err != nil {
		return fmt.Errorf("sync warehouse %s: %w", l.dir, err)
	}
	return nil
}

// locked runs f while no other process commits to or removes from the warehouse.
// The kernel drops the lock of a process that dies.
func (l *Local) locked(f func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	fd := int(l.lock.Fd())
	if err := retry(func() error { return unix.Flock(fd, unix.LOCK_EX) }); err != nil {
		return fmt.Errorf("lock warehouse %s: %w", l.dir, err)
	}
	defer unix.Flock(fd, unix.LOCK_UN)
	return f()
}

func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}
