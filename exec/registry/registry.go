// Package registry keeps the runs of all runners on this machine: a directory for each,
// as docs/formats.md specifies it, that any kiln process can read, follow, wait for and
// ask to end. What a run does, and where, is the business of the runners.
package registry

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec"
)

// The files of a run's directory.
const (
	RunFile    = "run.json"
	StdoutFile = "stdout.log"
	StderrFile = "stderr.log"
	ExitFile   = "exit-code"
	// SuperviseFile takes what a supervising process says when it cannot say it in the record.
	SuperviseFile = "supervisor.log"

	ownerFile  = "owner"
	lockFile   = "lock"
	cancelFile = "cancel"
)

// A Registry is a directory of runs. Its methods are safe for concurrent use, also by
// several processes.
type Registry struct {
	dir  string
	mu   sync.Mutex // of lost
	lost map[string]func(exec.Run)
}

// Open returns the registry in dir, which is made when the first run is.
func Open(dir string) *Registry { return &Registry{dir: dir, lost: map[string]func(exec.Run){}} }

// OnLost has f called for each run of a runner that is found lost by this process: it
// ends what may be left of it. A run is found lost once, whatever it is looked at for:
// f has to be known by then.
func (g *Registry) OnLost(runner string, f func(exec.Run)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lost[runner] = f
}

// Dir returns the directory of a run, which need not exist.
func (g *Registry) Dir(id string) string { return filepath.Join(g.dir, id) }

func (g *Registry) path(id, name string) string { return filepath.Join(g.dir, id, name) }

// Create enters a new run, pending, and returns it with its Hold. The run is lost
// unless its Hold is kept, passed on or released. run says what the caller knows: id,
// status and times are set here, the id only if there is none. That two callers create
// one run is an error for the second.
func (g *Registry) Create(run exec.Run) (_ exec.Run, _ *Hold, err error) {
	id, now := newID(time.Now)
	run.ID = cmp.Or(run.ID, id)
	if !validID(run.ID) {
		return exec.Run{}, nil, fmt.Errorf("enter run %q: its id is not a uuid", run.ID)
	}
	run.Status, run.Created, run.Dir = exec.RunPending, now.UTC(), g.Dir(run.ID)
	if run.Name == "" {
		run.Name = run.Spec.Name
	}
	if err := os.MkdirAll(g.dir, 0o700); err != nil {
		return exec.Run{}, nil, fmt.Errorf("enter run: %w", err)
	}
	if err := os.Mkdir(run.Dir, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("there is a run of this id already, in %s", run.Dir)
		}
		return exec.Run{}, nil, fmt.Errorf("enter run: %w", err)
	}
	defer func() {
		if err != nil {
			os.RemoveAll(run.Dir)
		}
	}()
	hold, err := takeHold(run.Dir)
	if err != nil {
		return exec.Run{}, nil, fmt.Errorf("enter run: %w", err)
	}
	for _, name := range []string{StdoutFile, StderrFile, lockFile} {
		if err = os.WriteFile(filepath.Join(run.Dir, name), nil, 0o600); err != nil {
			hold.Close()
			return exec.Run{}, nil, fmt.Errorf("enter run: %w", err)
		}
	}
	if err = reserve(run.Dir); err == nil {
		err = write(run)
	}
	if err != nil {
		hold.Close()
		return exec.Run{}, nil, fmt.Errorf("enter run: %w", err)
	}
	return run, hold, nil
}

// write puts a run's record in place of the one before, whole or not at all.
func write(run exec.Run) error {
	return writeFile(run.Dir, RunFile, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(run)
	})
}

// read reads a run's record as it is on disk.
func (g *Registry) read(id string) (exec.Run, error) {
	if !validID(id) {
		return exec.Run{}, fmt.Errorf("run %s: %w", id, exec.ErrNoRun)
	}
	text, err := readRecord(g.path(id, RunFile))
	if errors.Is(err, fs.ErrNotExist) {
		return exec.Run{}, fmt.Errorf("run %s: %w", id, exec.ErrNoRun)
	}
	if err != nil {
		return exec.Run{}, fmt.Errorf("read run %s: %w", id, err)
	}
	var run exec.Run
	if err := understand(text, id, &run); err != nil {
		return exec.Run{}, &DamagedError{id, g.path(id, RunFile), err}
	}
	run.Dir = g.Dir(id)
	return run, nil
}

// Update changes a run's record: change is called with what is there, alone among all
// processes. A run that has ended does not change any more: then change is not called,
// and Update returns it as it is.
func (g *Registry) Update(id string, change func(*exec.Run)) (exec.Run, error) {
	unlock, err := g.lock(id)
	if err != nil {
		return exec.Run{}, err
	}
	defer unlock()
	run, err := g.read(id)
	if err != nil || run.Status.Ended() {
		return run, err
	}
	before, err := json.Marshal(run)
	if err != nil {
		return run, err
	}
	change(&run)
	if run.Status.Ended() {
		run.Spec.Env = names(run.Spec.Env)
	}
	if after, err := json.Marshal(run); err != nil || string(after) == string(before) {
		return run, err
	}
	if err := write(run); err != nil {
		return run, fmt.Errorf("write run %s: %w", id, err)
	}
	if run.Status.Ended() {
		os.Remove(filepath.Join(run.Dir, reserveFile)) // it may be gone
	}
	return run, nil
}

// lock makes this the only process that changes a run's record.
func (g *Registry) lock(id string) (unlock func(), err error) {
	if !validID(id) {
		return nil, fmt.Errorf("run %s: %w", id, exec.ErrNoRun)
	}
	f, err := os.Open(g.path(id, lockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("run %s: %w", id, exec.ErrNoRun)
	}
	if err != nil {
		return nil, fmt.Errorf("lock run %s: %w", id, err)
	}
	if err := flock(f, unix.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock run %s: %w", id, err)
	}
	return func() { f.Close() }, nil
}

// Get returns a run as it is. One whose owner has died is ended here: from its exit
// code if that was written, else as lost.
func (g *Registry) Get(id string) (exec.Run, error) {
	run, err := g.read(id)
	if err != nil || run.Status.Ended() || !g.orphaned(id) {
		return run, err
	}
	return g.bury(id)
}

// List returns the runs of a runner, or of all for "", that f lets through, oldest
// first. The error is about records that cannot be read; the others are returned with
// it.
func (g *Registry) List(runner string, f exec.RunFilter) ([]exec.Run, error) {
	ids, err := g.ids()
	if err != nil {
		return nil, err
	}
	var runs []exec.Run
	var errs []error
	for _, id := range ids {
		if madeAt(id).Before(f.Since.Truncate(time.Millisecond)) {
			continue // without reading it
		}
		run, err := g.Get(id)
		switch {
		case errors.Is(err, exec.ErrNoRun): // gone, or not there yet
		case err != nil:
			errs = append(errs, err)
		case (runner == "" || run.Runner == runner) && f.Match(run):
			runs = append(runs, run)
		}
	}
	slices.SortStableFunc(runs, func(a, b exec.Run) int { return strings.Compare(a.ID, b.ID) })
	return runs, errors.Join(errs...)
}

// ids returns the names of all runs' directories, sorted.
func (g *Registry) ids() ([]string, error) {
	entries, err := os.ReadDir(g.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if validID(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

// Find returns the id that begins with prefix. The error names the candidates if there
// are several, and matches exec.ErrNoRun if there is none.
func (g *Registry) Find(prefix string) (string, error) {
	ids, err := g.ids()
	if err != nil {
		return "", err
	}
	var found []string
	for _, id := range ids {
		if strings.HasPrefix(id, strings.ToLower(prefix)) && prefix != "" {
			found = append(found, id)
		}
	}
	switch {
	case len(found) == 0:
		return "", fmt.Errorf("run %s: %w", prefix, exec.ErrNoRun)
	case len(found) > 1:
		more := ""
		if n := len(found) - 10; n > 0 {
			found, more = found[:10], fmt.Sprintf(" and %d more", n)
		}
		return "", fmt.Errorf("run %s: that could be %s%s", prefix, strings.Join(found, ", "), more)
	}
	return found[0], nil
}

// Remove removes a run that has ended, with its logs.
func (g *Registry) Remove(id string) error {
	run, err := g.Get(id)
	var damaged *DamagedError
	switch {
	case errors.As(err, &damaged) && locked(g.path(id, ownerFile)):
		return fmt.Errorf("remove run %s: a process carries it out: end that first", id)
	case errors.As(err, &damaged): // nobody will ever know more of it
	case err != nil:
		return err
	case !run.Status.Ended():
		return fmt.Errorf("remove run %s: it is %s: cancel it first", id, run.Status)
	}
	unlock, err := g.lock(id)
	if err != nil {
		return err
	}
	defer unlock()
	// The record goes first: without it there is no run.
	if err := os.Remove(g.path(id, RunFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove run %s: %w", id, err)
	}
	if err := os.RemoveAll(g.Dir(id)); err != nil {
		return fmt.Errorf("remove run %s: %w", id, err)
	}
	return nil
}
