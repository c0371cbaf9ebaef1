package container

import (
	"sync"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/kilnbuild/kiln/exec/container/bundle"
	"github.com/kilnbuild/kiln/exec/container/seccomp"
)

// SeccompProfile returns the profile of jobs: Docker's default. Where only one id is
// mapped, giving a file to another user cannot work, and outputs do not keep owners
// unless asked to: there it is pretended, so that the usual installers run and the
// same formula gives the same wares with one id and with many.
func SeccompProfile(oneID bool) (*specs.LinuxSeccomp, error) {
	p, err := seccomp.Profile(bundle.Capabilities)
	if err == nil && oneID {
		seccomp.Pretend(p, "chown", "fchown", "lchown", "fchownat")
	}
	return p, err
}

// Filter returns SeccompProfile as a program for the kernel, for who makes containers of
// another kind and has more ids than one.
func Filter() ([]byte, error) { return jobFilter(false) }

// jobFilter returns SeccompProfile as a program for the kernel.
func jobFilter(oneID bool) ([]byte, error) {
	if oneID {
		return oneIDFilter()
	}
	return manyIDsFilter()
}

var (
	oneIDFilter   = sync.OnceValues(func() ([]byte, error) { return compileFilter(true) })
	manyIDsFilter = sync.OnceValues(func() ([]byte, error) { return compileFilter(false) })
)

func compileFilter(oneID bool) ([]byte, error) {
	p, err := SeccompProfile(oneID)
	if err != nil {
		return nil, err
	}
	return seccomp.Compile(p)
}
