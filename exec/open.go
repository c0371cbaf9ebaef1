package exec

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/exec/container"
)

// openBackend opens the backend when the first step needs it: a run in which
// everything is remembered enters no namespace.
func (r *run) openBackend() error {
	if r.backend != nil {
		return nil
	}
	b, err := r.open()
	if err != nil {
		return err
	}
	r.backend = b
	return nil
}

func (r *run) openContainer() (backend, error) {
	x, err := startExecutor(&r.Options, r.wares.hosts)
	if err != nil {
		return nil, err
	}
	return x, nil
}

// startExecutor starts an executor whose jobs may have mounted what is in h.
func startExecutor(o *Options, h *hosts) (*container.Executor, error) {
	if o.Binaries == nil {
		return nil, errors.New("no executor was given")
	}
	binaries, err := o.Binaries()
	if err != nil {
		return nil, fmt.Errorf("load executor: %w", err)
	}
	var id [8]byte
	rand.Read(id[:])
	maxPIDs := o.MaxPIDs
	if maxPIDs == 0 {
		maxPIDs = defaultMaxPIDs()
	}
	return container.Start(container.Config{
		Binaries: binaries, Warehouse: o.Warehouse.Dir(), Run: hex.EncodeToString(id[:]), MaxPIDs: maxPIDs,
		Hosts: h.paths, Network: h.network,
	})
}

func defaultMaxPIDs() uint64 {
	text, err := os.ReadFile("/proc/sys/kernel/pid_max")
	if err != nil {
		return DefaultMaxPIDs
	}
	all, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return DefaultMaxPIDs
	}
	return min(DefaultMaxPIDs, all/4)
}

// CheckContainers enters a run's namespaces and leaves them: it says why containers
// cannot be made here, or nil. Warehouse and Binaries of o count.
func CheckContainers(o Options) error {
	x, err := startExecutor(&o, &hosts{})
	if err != nil {
		return err
	}
	x.Close()
	return nil
}
