package warehouse

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
	own    func() (*stageDir, error) // this Local's stage directory, made when first needed
	stages atomic.Bool               // it was needed
	reads  bool                      // and nothing else: see OpenReader
	lease  *lease                    // see Hold; guarded by mu
}

// ErrReadOnly says that a warehouse was opened by OpenReader.
var ErrReadOnly = errors.New("the warehouse is open for reading only")

// OpenLocal opens the warehouse in dir, creating what is missing of it. The caller
// closes it.
func OpenLocal(dir string) (*Local, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open warehouse: %w", err)
	}
	l := &Local{dir: dir}
	l.own = sync.OnceValues(func() (*stageDir, error) { return makeStageDir(filepath.Join(dir, "stage")) })
	for _, sub := range []string{"fileset", "record", "stage", "work"} {
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

// OpenReader opens the warehouse in dir to look at what is in it, and writes nothing:
// it may be somebody else's, or on a file system that is mounted read-only. If there is
// none, it has no wares. What would write returns an error that matches ErrReadOnly.
func OpenReader(dir string) (*Local, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open warehouse: %w", err)
	}
	l := &Local{dir: dir, reads: true}
	l.own = func() (*stageDir, error) { return nil, ErrReadOnly }
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

// Close releases the warehouse. Filesets already handed out stay valid, staged
// directories do not.
func (l *Local) Close() error {
	l.closeLease()
	if l.stages.Load() {
		if own, err := l.own(); err == nil {
			own.close()
		}
	}
	if l.reads {
		return nil
	}
	return l.lock.Close()
}

// Dir returns the absolute directory of the warehouse.
func (l *Local) Dir() string { return l.dir }

// WorkDir returns the directory for what is not made by Stage, such as the
// directories of steps. It is on the file system of the filesets, so that what was
// made there can be committed.
func (l *Local) WorkDir() string { return filepath.Join(l.dir, "work") }

// Holds reports whether path lies where things are made before they are committed:
// below WorkDir, or staged.
func (l *Local) Holds(path string) bool {
	rel, err := filepath.Rel(l.dir, path)
	if err != nil || !filepath.IsLocal(rel) {
		return false
	}
	top, below, _ := strings.Cut(rel, "/")
	return (top == "work" || top == "stage") && below != ""
}

// Stage makes an empty directory, mode 0700, whose name begins with prefix. The
// caller commits or removes it; if this process dies, another one does.
func (l *Local) Stage(prefix string) (string, error) {
	dir, err := l.stagePath(prefix)
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return "", fmt.Errorf("stage in warehouse: %w", err)
	}
	return dir, nil
}

// stagePath returns a path at which nothing is, for a thing to be made or put aside.
func (l *Local) stagePath(prefix string) (string, error) {
	l.stages.Store(true)
	own, err := l.own()
	if err != nil {
		return "", err
	}
	return own.path + "/" + prefix + "-" + strconv.FormatUint(l.staged.Add(1), 10), nil
}

// Sync makes everything committed so far durable: it flushes the file system the
// warehouse lies on. Commit alone survives a killed process, not a power cut.
func (l *Local) Sync() error {
	if l.reads {
		return nil
	}
	if err := retry(func() error { return unix.Syncfs(int(l.lock.Fd())) }); err != nil {
		return fmt.Errorf("sync warehouse %s: %w", l.dir, err)
	}
	return nil
}

// locked runs f while no other process commits to or removes from the warehouse.
// The kernel drops the lock of a process that dies.
func (l *Local) locked(f func() error) error { return l.flocked(unix.LOCK_EX, f) }

// flocked runs f with a lock of the kind how, LOCK_EX or LOCK_SH.
func (l *Local) flocked(how int, f func() error) error {
	if l.reads {
		return ErrReadOnly
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.flockedHere(how, f)
}

// flockedHere is flocked for who holds mu.
func (l *Local) flockedHere(how int, f func() error) error {
	fd := int(l.lock.Fd())
	if err := retry(func() error { return unix.Flock(fd, how) }); err != nil {
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
