package executor

import (
	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec/container/wire"
)

// maskedPaths and readonlyPaths are Docker's for /proc; there is no /sys in a job.
var (
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// jobNamespaces are all but user: the run has entered one for all.
var jobNamespaces = []configs.NamespaceType{
	configs.NEWNS, configs.NEWPID, configs.NEWIPC, configs.NEWUTS, configs.NEWNET, configs.NEWCGROUP,
}

const flagsSafe = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC

// containerConfig is what every container has in common. dev is what it finds at
// /dev, mounted with the flags it should have.
func containerConfig(root, dev string, capabilities []string) *configs.Config {
	config := &configs.Config{
		Rootfs:          root,
		RootPropagation: unix.MS_SLAVE | unix.MS_REC, // mounts made below root later arrive
		NoNewPrivileges: true,
		NoNewKeyring:    true,
		Capabilities:    &configs.Capabilities{Bounding: capabilities, Effective: capabilities, Permitted: capabilities},
		Cgroups:         &cgroups.Cgroup{Name: "kiln", Rootless: true, Resources: &cgroups.Resources{}},
		RootlessCgroups: true,
		Hostname:        "kiln",
		Mounts: []*configs.Mount{
			{Source: "proc", Destination: "/proc", Device: "proc", Flags: flagsSafe},
			{Source: dev, Destination: "/dev", Device: "bind", Flags: unix.MS_BIND | unix.MS_REC},
		},
	}
	for _, ns := range jobNamespaces {
		config.Namespaces.Add(ns, "")
	}
	return config
}

// jobConfig is containerConfig with what a step's command finds around it.
func jobConfig(root, dev string, hello wire.Hello) *configs.Config {
	config := containerConfig(root, dev, hello.Capabilities)
	config.Networks = []*configs.Network{{Type: "loopback"}}
	config.MaskPaths = maskedPaths
	config.ReadonlyPaths = readonlyPaths
	config.Rlimits = append(config.Rlimits, configs.Rlimit{Type: unix.RLIMIT_CORE}) // a core dump would be part of an output
	if hello.MaxPIDs > 0 {
		config.Rlimits = append(config.Rlimits, configs.Rlimit{Type: unix.RLIMIT_NPROC, Hard: hello.MaxPIDs, Soft: hello.MaxPIDs})
	}
	return config
}
