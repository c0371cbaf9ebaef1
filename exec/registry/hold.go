package registry

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec"
)

// A Hold says that a run is in this process's hands: a lock that the kernel lets go of
// when the last process that has the file open ends, however it does, or the machine.
// While a run has an owner file that nobody holds, its owner has died.
type Hold struct {
	file *os.File
	dir  string
}

// takeHold takes the hold of a run that is being entered. One that looks whether it is held may be
// first: then it is waited for.
func takeHold(dir string) (*Hold, error) {
	f, err := os.OpenFile(filepath.Join(dir, ownerFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX); err != nil {
		f.Close()
		return nil, err
	}
	return &Hold{f, dir}, nil
}

// File is the open file that is the hold: a process that inherits it holds the run too.
func (h *Hold) File() *os.File { return h.file }

// Inherited is the hold that this process has inherited as f, of the run in dir.
func Inherited(f *os.File, dir string) (*Hold, error) {
	want, err := os.Stat(filepath.Join(dir, ownerFile))
	if err != nil {
		return nil, err
	}
	if got, err := f.Stat(); err != nil || !os.SameFile(got, want) {
		return nil, fmt.Errorf("run %s: the hold that was inherited is of something else", filepath.Base(dir))
	}
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("run %s is in the hands of another process", filepath.Base(dir))
	}
	return &Hold{f, dir}, nil
}

// Close lets go of the run in this process. If it was the last and the run has not
// ended, it is lost.
func (h *Hold) Close() error { return h.file.Close() }

// Release says that no process of this machine owns the run any more, but its
// environment: an engine, a cluster.
func (h *Hold) Release() error {
	return errors.Join(os.Remove(filepath.Join(h.dir, ownerFile)), h.Close())
}

// orphaned reports whether a run has had an owner and has none.
func (g *Registry) orphaned(id string) bool {
	f, err := os.Open(g.path(id, ownerFile))
	if err != nil {
		return false
	}
	defer f.Close()
	return flock(f, unix.LOCK_SH|unix.LOCK_NB) == nil
}

// Held reports whether a process of this machine owns a run.
func (g *Registry) Held(id string) bool { return locked(g.path(id, ownerFile)) }

// bury ends a run whose owner has died. What it cannot write it still returns.
func (g *Registry) bury(id string) (exec.Run, error) {
	died := false
	run, err := g.Update(id, func(r *exec.Run) {
		if died = g.orphaned(id); !died {
			return
		}
		r.Ended = time.Now().UTC()
		code, signal, ok := g.exitCode(id)
		if ok && (code != 0 || len(r.Spec.Outputs) == 0) {
			settleExit(r, code, signal)
			return
		}
		r.Status, r.Reason = exec.RunFailed, exec.ReasonLost
		r.Message = "the process that carried it out has ended without a word: killed, or the machine was restarted"
		if words := g.lastWords(id); words != "" {
			r.Message = "the process that carried it out has ended: " + words
		}
	})
	g.mu.Lock()
	clean := g.lost[run.Runner]
	g.mu.Unlock()
	if died && clean != nil {
		clean(run)
	}
	if run.Status.Ended() {
		return run, nil
	}
	return run, err
}

// lastWords returns the end of what a supervisor wrote before it died.
func (g *Registry) lastWords(id string) string {
	text, err := os.ReadFile(g.path(id, SuperviseFile))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text[max(0, len(text)-2<<10):]))
}

// settleExit ends a run by what its owner could still write of its command's end.
func settleExit(r *exec.Run, code, signal int) {
	switch {
	case signal != 0:
		r.Status, r.Reason, r.Signal = exec.RunFailed, exec.ReasonSignal, signal
	case code != 0:
		r.Status, r.Reason, r.ExitCode = exec.RunFailed, exec.ReasonExit, &code
	default:
		r.Status, r.ExitCode = exec.RunSucceeded, &code
	}
}

// WriteExit writes a run's exit-code file: how its command ended, before the record
// says so. signal is 0 for a command that exited.
func (g *Registry) WriteExit(id string, code, signal int) error {
	return writeFile(g.Dir(id), ExitFile, func(w io.Writer) error {
		text := strconv.Itoa(code)
		if signal != 0 {
			text = "signal " + strconv.Itoa(signal)
		}
		_, err := fmt.Fprintln(w, text)
		return err
	})
}

// exitCode reads a run's exit-code file, if there is one.
func (g *Registry) exitCode(id string) (code, signal int, ok bool) {
	text, err := os.ReadFile(g.path(id, ExitFile))
	if err != nil {
		return 0, 0, false
	}
	digits, signalled := strings.CutPrefix(strings.TrimSpace(string(text)), "signal ")
	n, err := strconv.Atoi(digits)
	switch {
	case err != nil:
		return 0, 0, false
	case signalled:
		return -1, n, true
	}
	return n, 0, true
}

// RequestCancel asks a run's owner to end it. It is no error to ask twice, or too late.
func (g *Registry) RequestCancel(id string) error {
	f, err := os.OpenFile(g.path(id, cancelFile), os.O_WRONLY|os.O_CREATE, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("run %s: %w", id, exec.ErrNoRun)
	}
	if err != nil {
		return fmt.Errorf("cancel run %s: %w", id, err)
	}
	return f.Close()
}

// CancelRequested reports whether somebody has asked for the end of a run.
func (g *Registry) CancelRequested(id string) bool {
	_, err := os.Stat(g.path(id, cancelFile))
	return err == nil
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}
