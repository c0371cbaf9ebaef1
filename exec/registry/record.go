package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/exec"
)

// A DamagedError says that the record of a run is there and cannot be understood. All
// that can be done with such a run is to remove it.
type DamagedError struct {
	ID   string
	Path string // of the record
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("run %s: its record %s is damaged, or a newer kiln's: %v", e.ID, e.Path, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// maxRecord is more bytes than a record has: the kernel takes 2 MiB of command and
// environment, and a script may be a few times that.
const maxRecord = 32 << 20

func readRecord(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxRecord+1))
}

// understand parses the record of the run id.
func understand(text []byte, id string, run *exec.Run) error {
	if len(text) > maxRecord {
		return fmt.Errorf("it has more than %d MiB", maxRecord>>20)
	}
	if err := json.Unmarshal(text, run); err != nil {
		return err
	}
	if run.ID != id {
		return fmt.Errorf("it is of run %q", run.ID)
	}
	if !slices.Contains(exec.RunStatuses, run.Status) {
		return fmt.Errorf("it says %q, which is no status", run.Status)
	}
	return nil
}

// names returns an environment without its values, which are nobody's business once the
// run has ended: they may be secrets.
func names(env []string) (bare []string) {
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		bare = append(bare, name)
	}
	return bare
}

// InUse reports whether a run has not ended. One whose record is damaged, or not there
// yet, is in use while a process holds it. What is no run's directory is for nobody else
// to touch.
func (g *Registry) InUse(id string) bool {
	if !validID(id) {
		return true
	}
	run, err := g.Get(id)
	var damaged *DamagedError
	if errors.As(err, &damaged) || errors.Is(err, exec.ErrNoRun) {
		return locked(g.path(id, ownerFile))
	}
	return err != nil || !run.Status.Ended()
}

// InUseSince returns when the oldest run that is in use was created; the zero time if
// none is.
func (g *Registry) InUseSince() (time.Time, error) {
	ids, err := g.ids()
	for _, id := range ids {
		if g.InUse(id) {
			return madeAt(id), nil
		}
	}
	return time.Time{}, err
}
