package bundle

import (
	"fmt"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Rlimits are the numbers of the limits that kiln's containers have, by name.
var Rlimits = map[string]int{"RLIMIT_CORE": unix.RLIMIT_CORE, "RLIMIT_NPROC": unix.RLIMIT_NPROC, "RLIMIT_DATA": unix.RLIMIT_DATA}

// CapRlimits lowers the limits of a spec to those that this process has: a user who
// was given less, as sudo allows no core files, may not raise it for a container.
func CapRlimits(spec *specs.Spec) error {
	limits := spec.Process.Rlimits
	for i := range limits {
		var own unix.Rlimit
		if err := unix.Getrlimit(Rlimits[limits[i].Type], &own); err != nil {
			return fmt.Errorf("read %s: %w", limits[i].Type, err)
		}
		limits[i].Hard, limits[i].Soft = min(limits[i].Hard, own.Max), min(limits[i].Soft, own.Max)
	}
	return nil
}
