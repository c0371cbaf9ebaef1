package inside

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/delegate"
)

// A control is a file of the cgroup that the helper is in, in the two forms that Linux
// has.
type control struct{ v1, v2 string }

var (
	memoryMax = control{"memory/memory.limit_in_bytes", "memory.max"}
	pidsMax   = control{"pids/pids.max", "pids.max"}
	cpuMax    = control{"cpu/cpu.cfs_quota_us", "cpu.max"}
	cpuPeriod = control{v1: "cpu/cpu.cfs_period_us"}
	oomEvents = control{"memory/memory.oom_control", "memory.events"}
)

const cgroups = "/sys/fs/cgroup"

// read returns what the file says. Containers find their own group at the top, whichever
// form it has, or with the namespace of the machine, below it.
func (c control) read() (string, error) {
	paths := []string{filepath.Join(cgroups, c.v2), filepath.Join(cgroups, c.v1)}
	if own := unifiedGroup(); own != "" && c.v2 != "" {
		paths = append([]string{filepath.Join(cgroups, own, c.v2)}, paths...)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err == nil {
			return strings.TrimSpace(string(text)), nil
		}
	}
	return "", fmt.Errorf("read %s: %w", filepath.Join(cgroups, c.v1), fs.ErrNotExist)
}

// unifiedGroup returns the path of the helper's group in the hierarchy of cgroup v2.
func unifiedGroup() string {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok && !strings.HasPrefix(path, "/..") {
			return path
		}
	}
	return ""
}

// number returns the first number in the file; ok is false for no limit.
func (c control) number() (n int64, ok bool, err error) {
	text, err := c.read()
	if err != nil {
		return 0, false, err
	}
	first, _, _ := strings.Cut(text, " ")
	n, err = strconv.ParseInt(first, 10, 64)
	return n, err == nil && n >= 0, nil
}

// checkLimits makes sure that the kernel holds the command to what it was limited to:
// engines leave out what they cannot do, and some say nothing.
func checkLimits(l exec.Amounts) error {
	var errs []error
	if l.Memory > 0 {
		errs = append(errs, memoryMax.atMost(l.Memory, fmt.Sprintf("%d bytes of memory", l.Memory)))
	}
	if l.PIDs > 0 {
		errs = append(errs, pidsMax.atMost(l.PIDs+delegate.HelperPIDs, fmt.Sprintf("%d processes", l.PIDs)))
	}
	if l.CPUs > 0 {
		errs = append(errs, checkCPUs(l.CPUs))
	}
	return errors.Join(errs...)
}

func (c control) atMost(limit int64, what string) error {
	n, ok, err := c.number()
	switch {
	case err != nil:
		return fmt.Errorf("the limit of %s cannot be verified here: %w", what, err)
	case !ok || n > limit:
		return fmt.Errorf("the limit of %s is not enforced here: the control group says %s", what, limitText(n, ok))
	}
	return nil
}

func limitText(n int64, ok bool) string {
	if !ok || n > 1<<60 {
		return "no limit"
	}
	return strconv.FormatInt(n, 10)
}

func checkCPUs(cpus float64) error {
	quota, ok, err := cpuMax.number()
	if err != nil {
		return fmt.Errorf("the limit of %v CPUs cannot be verified here: %w", cpus, err)
	}
	period := int64(100_000) // the kernel's default
	if text, err := cpuMax.read(); err == nil && strings.Contains(text, " ") {
		fmt.Sscan(text, new(string), &period)
	} else if n, ok, err := cpuPeriod.number(); err == nil && ok {
		period = n
	}
	if got := float64(quota) / float64(period); !ok || got > cpus*1.01 {
		return fmt.Errorf("the limit of %v CPUs is not enforced here: the control group says %s in %d", cpus, limitText(quota, ok), period)
	}
	return nil
}

// oomKills returns how many processes of the group the kernel has killed for their
// memory; 0 where it does not tell.
func oomKills() int64 {
	text, err := oomEvents.read()
	if err != nil {
		return 0
	}
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			kills, _ := strconv.ParseInt(n, 10, 64)
			return kills
		}
	}
	return 0
}
