package packed

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// partPrefix begins the names of files with parts of objects.
const partPrefix = "part-"

// partAge is how long a part waits for somebody to go on with it, since it last grew.
const partAge = 7 * 24 * time.Hour

// A partial is a file with the beginning of an object. It is locked (flock) while it is
// open, so that one process at a time writes to it. Beside it is another one, of the
// same name and ".json", that says where its bytes are from.
type partial struct {
	file   *os.File
	path   string
	have   int64 // its size
	origin origin
	note   string // of who had it before, then for who waits; see Incoming.Leave
}

// An origin is what is known of the object that a part is of.
type origin struct {
	From    string `json:"from"`
	Version string `json:"version,omitempty"`
	Size    int64  `json:"size"` // bytes; -1: not known
	Boot    string `json:"boot"` // of this machine, when its bytes were written
}

// bootID names the time since this machine was started, random(4).
var bootID = sync.OnceValue(func() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return rand.Text() // no other process trusts what this one leaves
	}
	return strings.TrimSpace(string(id))
})

// openPartial opens the part of what key names in dir, when no other process has it
// open. On a file system without locks it has a name of its own, and nobody goes on
// with it.
func openPartial(ctx context.Context, dir, key string) (*partial, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	sweep(dir)
	sum := sha256.Sum256([]byte(key))
	path := filepath.Join(dir, partPrefix+hex.EncodeToString(sum[:16]))
	for note := ""; ; {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := lock(ctx, f); errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) {
			f.Close()
			f, err = os.CreateTemp(dir, partPrefix)
			return &partial{file: f, path: f.Name()}, err
		} else if err != nil {
			f.Close()
			return nil, err
		}
		if isAt(f, path) {
			return readPartial(f, path, note)
		}
		note = readNote(f)
		f.Close() // who had it before has removed it
	}
}

// maxNote is how many bytes of a note are read: more than any digest has.
const maxNote = 1 << 10

// readNote returns what remove has left in f for who waited.
func readNote(f *os.File) string {
	note, err := io.ReadAll(io.LimitReader(f, maxNote))
	if err != nil {
		return ""
	}
	return string(note)
}

// lock locks f, whoever else has it first. When ctx ends before, the lock is let go of as
// soon as it is had.
func lock(ctx context.Context, f *os.File) error {
	err := flock(f, unix.LOCK_EX|unix.LOCK_NB)
	if err != unix.EWOULDBLOCK {
		return err
	}
	locked := make(chan error, 1)
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	go func() {
		var err error
		for err = unix.EINTR; err == unix.EINTR; {
			err = unix.Flock(fd, unix.LOCK_EX)
		}
		locked <- err
		unix.Close(fd) // the lock stays with f, unless that is closed too
	}()
	select {
	case err := <-locked:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}

// isAt reports whether f is what is at path.
func isAt(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(open, there)
}

// readPartial finds out what f, which is locked, has. If nobody knows what it has, it
// begins anew.
func readPartial(f *os.File, path, note string) (*partial, error) {
	p := &partial{file: f, path: path, note: note}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	data, err := os.ReadFile(p.originPath())
	if err == nil {
		err = json.Unmarshal(data, &p.origin)
	}
	if err != nil || p.origin.From == "" {
		err := p.reset(origin{})
		if err != nil {
			f.Close()
		}
		return p, err
	}
	p.have = info.Size()
	return p, nil
}

func (p *partial) originPath() string { return p.path + ".json" }

// reset makes p empty, to hold what is.
func (p *partial) reset(is origin) error {
	p.have = 0
	if err := p.file.Truncate(0); err != nil {
		return err
	}
	return p.describe(is)
}

// describe notes what p is a part of. A file that is cut short while it is written
// reads as nothing known.
func (p *partial) describe(is origin) error {
	p.origin = is
	data, err := json.Marshal(is)
	if err != nil {
		return err
	}
	return os.WriteFile(p.originPath(), append(data, '\n'), 0o600)
}

func (p *partial) append(data []byte) error {
	n, err := p.file.WriteAt(data, p.have)
	p.have += int64(n)
	return err
}

// remove removes the files. Until close nobody else begins anew in their place. Who waits
// for the lock has the file open, and finds in it, though it has no name any more, p.note,
// unless who used the file has taken it.
func (p *partial) remove() {
	err := os.Remove(p.originPath()) // from here on nobody takes the file for a part
	if (err == nil || errors.Is(err, fs.ErrNotExist)) && isAt(p.file, p.path) && p.file.Truncate(0) == nil {
		_, _ = p.file.WriteAt([]byte(p.note), 0)
	}
	_ = os.Remove(p.path)
}

// close lets go of p.
func (p *partial) close() { p.file.Close() }

var swept sync.Map // directories

// sweep removes what nobody has gone on with for long, once for each directory. Times
// far in the future are no better than old ones: a clock was wrong.
func sweep(dir string) {
	if _, done := swept.LoadOrStore(dir, true); done {
		return
	}
	paths, _ := filepath.Glob(filepath.Join(dir, partPrefix+"*"))
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil || time.Since(info.ModTime()).Abs() < partAge {
			continue
		}
		if f, err := os.Open(path); err == nil {
			if flock(f, unix.LOCK_EX|unix.LOCK_NB) == nil && isAt(f, path) {
				_ = os.Remove(path)
			}
			f.Close()
		}
	}
}
