package exec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/exec/container"
)

// LimitsOf are the limits of resources as cgroups have them.
func LimitsOf(r Resources) container.Limits {
	return container.Limits{Memory: r.Limits.Memory, CPUs: r.Limits.CPUs, PIDs: r.Limits.PIDs}
}

// resourceOf is what a formula calls what a controller limits.
var resourceOf = map[string]string{"memory": "memory", "cpu": "cpus", "pids": "pids"}

// Enforceable says which limits cannot be enforced on this machine. That is an error
// that matches ErrUnsupported and says why, unless r is for best effort.
func Enforceable(r Resources) (unenforced []string, err error) {
	group, left := container.NewGroup(LimitsOf(r))
	group.Remove()
	var whys []string
	for controller, why := range left {
		unenforced = append(unenforced, resourceOf[controller])
		whys = append(whys, fmt.Sprintf("the limit of %s cannot be enforced here: %v", resourceOf[controller], why))
	}
	slices.Sort(unenforced)
	slices.Sort(whys)
	if len(whys) == 0 || r.BestEffort {
		return unenforced, nil
	}
	return nil, fmt.Errorf("%w: %s\nLimits need cgroups: be root, or begin with systemd-run --user --scope -p Delegate=yes; or consent to run without: --allow unlimited",
		ErrUnsupported, strings.Join(whys, "; "))
}

// OutOfMemory says what a run has come to that had so much memory.
func OutOfMemory(r Resources) string {
	if r.Limits.Memory == 0 {
		return "the kernel ended a process of it: there was no memory left"
	}
	return "the kernel ended a process of it: all together may use " + memoryText(r.Limits.Memory)
}

// memoryText is a number of bytes as people write it, exactly.
func memoryText(bytes int64) string {
	unit := 0
	for bytes >= 1024 && bytes%1024 == 0 && unit < 4 {
		bytes /= 1024
		unit++
	}
	return fmt.Sprintf("%d %s", bytes, []string{"bytes", "KiB", "MiB", "GiB", "TiB"}[unit])
}
