package executor

import (
	"fmt"
	"slices"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/configs"
	"github.com/opencontainers/runc/libcontainer/specconv"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/kilnbuild/kiln/exec/container/bundle"
)

// limits are what a container's processes may not do. 0 is no limit.
type limits struct {
	pids, data uint64
	readOnly   bool
	network    bool // the executor's network, in place of an empty one
}

// tmpSize is how much a container with a read-only root may keep in /tmp.
const tmpSize = "size=64m"

// containerConfig is the configuration of a container whose root is at root and
// that finds dev at /dev, mounted with the flags it should have.
func containerConfig(root, dev string, l limits, mounts ...specs.Mount) (*configs.Config, error) {
	spec := bundle.New(l.pids)
	spec.Root.Path = root
	spec.Linux.RootfsPropagation = "rslave" // what is mounted below root later arrives
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/dev", Type: "bind", Source: dev, Options: []string{"rbind"}})
	spec.Mounts = append(spec.Mounts, mounts...)
	if spec.Root.Readonly = l.readOnly; l.readOnly {
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmp", Options: []string{"nosuid", "nodev", "mode=1777", tmpSize}})
	}
	if l.network {
		spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == specs.NetworkNamespace })
	}
	if l.data > 0 {
		spec.Process.Rlimits = append(spec.Process.Rlimits, specs.POSIXRlimit{Type: "RLIMIT_DATA", Hard: l.data, Soft: l.data})
	}
	config, err := specconv.CreateLibcontainerConfig(&specconv.CreateOpts{Spec: spec, NoNewKeyring: true, RootlessCgroups: true})
	if err != nil {
		return nil, fmt.Errorf("convert runtime spec: %w", err)
	}
	// A cgroup that is not there and no rules: libcontainer is to leave cgroups alone.
	config.Cgroups = &cgroups.Cgroup{Name: "kiln", Rootless: true, Resources: &cgroups.Resources{}}
	config.Devices = nil // dev holds them
	if err := bundle.CapRlimits(spec); err != nil {
		return nil, err
	}
	for _, limit := range spec.Process.Rlimits { // which the conversion leaves to the process
		config.Rlimits = append(config.Rlimits, configs.Rlimit{Type: bundle.Rlimits[limit.Type], Hard: limit.Hard, Soft: limit.Soft})
	}
	return config, nil
}
