package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A pidsGroup limits the processes of a whole run where RLIMIT_NPROC does not: for
// root. It is a cgroup with the pids controller, v1 or v2.
type pidsGroup struct {
	dir   string
	limit uint64
}

const pidsGroupPrefix = "kiln-"

// newPidsGroup makes a group for a run of at most limit processes. It returns nil
// where it is not needed or not allowed: a limit nobody asked for is a courtesy.
func newPidsGroup(run string, limit uint64) *pidsGroup {
	if limit == 0 || os.Geteuid() != 0 {
		return nil
	}
	parent := pidsParent()
	if parent == "" {
		return nil
	}
	left, _ := filepath.Glob(filepath.Join(parent, pidsGroupPrefix+"*"))
	for _, dir := range left {
		unix.Rmdir(dir) // of a run that was killed; one in use cannot be removed
	}
	g := &pidsGroup{dir: filepath.Join(parent, pidsGroupPrefix+run), limit: limit}
	if err := g.make(); err != nil && !groupGone(err) {
		g.remove()
		return nil
	}
	return g
}

func (g *pidsGroup) make() error {
	if err := os.Mkdir(g.dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(g.dir, "pids.max"), strconv.AppendUint(nil, g.limit, 10), 0)
}

// pidsParent returns the directory in which a group with the pids controller can
// be made, or "".
func pidsParent() string {
	membership, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.SplitSeq(string(membership), "\n") {
		fields := strings.SplitN(line, ":", 3)
		if len(fields) != 3 {
			continue
		}
		if strings.Contains(","+fields[1]+",", ",pids,") {
			return filepath.Join("/sys/fs/cgroup", fields[1], fields[2])
		}
	}
	const unified = "/sys/fs/cgroup"
	if controllers, err := os.ReadFile(unified + "/cgroup.subtree_control"); err == nil && strings.Contains(string(controllers), "pids") {
		return unified
	}
	return ""
}

// add moves a process into the group, and with it what it starts from then on.
func (g *pidsGroup) add(pid int) error {
	if g == nil {
		return nil
	}
	procs := filepath.Join(g.dir, "cgroup.procs")
	err := os.WriteFile(procs, strconv.AppendInt(nil, int64(pid), 10), 0)
	for range 100 { // as long as kilns that begin just now take it for a dead run's
		if !groupGone(err) {
			break
		}
		if err = g.make(); err == nil {
			err = os.WriteFile(procs, strconv.AppendInt(nil, int64(pid), 10), 0)
		}
	}
	if err != nil {
		return fmt.Errorf("limit the run's processes: %w", err)
	}
	return nil
}

// groupGone reports whether an error says that a group was removed: before one of its
// files was opened, or after (ENODEV).
func groupGone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV)
}

func (g *pidsGroup) remove() {
	if g != nil {
		unix.Rmdir(g.dir)
	}
}
