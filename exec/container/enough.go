package container

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Enough says what this machine has too little of for a command that is to have at
// least so many cores and bytes of memory, or nil.
func Enough(cpus float64, memory int64) error {
	if have := runtime.NumCPU(); cpus > float64(have) {
		return fmt.Errorf("%v cpus are requested and this machine has %d", cpus, have)
	}
	var info unix.Sysinfo_t
	if memory > 0 && unix.Sysinfo(&info) == nil {
		if have := int64(info.Totalram) * int64(info.Unit); memory > have {
			return fmt.Errorf("%d MiB of memory are requested and this machine has %d", memory>>20, have>>20)
		}
	}
	return nil
}
