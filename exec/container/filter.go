package container

import (
	"sync"

	"github.com/kilnbuild/kiln/exec/container/seccomp"
)

// Capabilities are what a build needs inside its user namespace: to own, read and
// change its own files and to become another of its own users. Nothing of the
// network, the kernel or other users' processes.
var Capabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
	"CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SYS_CHROOT",
}

// jobFilter returns the seccomp filter of jobs. Where only one id is mapped,
// giving a file to another user cannot work, and outputs do not keep owners unless
// asked to: there it is pretended, so that the usual installers run and the same
// formula gives the same wares with one id and with many.
func jobFilter(oneID bool) ([]byte, error) {
	if oneID {
		return oneIDFilter()
	}
	return manyIDsFilter()
}

var (
	oneIDFilter   = sync.OnceValues(func() ([]byte, error) { return compileFilter("chown", "fchown", "lchown", "fchownat") })
	manyIDsFilter = sync.OnceValues(func() ([]byte, error) { return compileFilter() })
)

func compileFilter(pretend ...string) ([]byte, error) {
	p, err := seccomp.Profile(Capabilities)
	if err != nil {
		return nil, err
	}
	if len(pretend) > 0 {
		seccomp.Pretend(p, pretend...)
	}
	return seccomp.Compile(p)
}
