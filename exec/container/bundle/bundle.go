// Package bundle describes kiln's containers as OCI runtime specs. The executor
// completes a spec with a job's own tree and hands it to libcontainer; package exec
// completes it so that any OCI runtime can run the step.
package bundle

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Capabilities are what a build needs inside its user namespace: to own, read and
// change its own files and to become another of its own users. Nothing of the
// network, the kernel or other users' processes.
var Capabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
	"CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SYS_CHROOT",
}

// Paths of /proc that show or change the machine, as Docker has them. A container
// of kiln has no /sys.
var (
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// MaskedPaths and ReadonlyPaths return the paths of /proc that a container does not see,
// and may not change.
func MaskedPaths() []string   { return slices.Clone(maskedPaths) }
func ReadonlyPaths() []string { return slices.Clone(readonlyPaths) }

// Hostname is that of every container.
const Hostname = "kiln"

// New returns what all containers have in common: namespaces of their own but for
// the user namespace, which is the run's; capabilities, no new privileges, /proc.
// It has no root, no devices and no command yet. maxPIDs of 0 is no limit.
func New(maxPIDs uint64) *specs.Spec {
	umask := uint32(0o022)
	spec := &specs.Spec{
		Version:  specs.Version,
		Hostname: Hostname,
		Root:     &specs.Root{},
		Process: &specs.Process{
			User:            specs.User{Umask: &umask},
			Cwd:             "/",
			NoNewPrivileges: true,
			Capabilities:    &specs.LinuxCapabilities{Bounding: Capabilities, Effective: Capabilities, Permitted: Capabilities},
			// A core dump would be part of an output. 1 rather than 0: the kernel then does
			// not start the host's crash handler either.
			Rlimits: []specs.POSIXRlimit{{Type: "RLIMIT_CORE", Hard: 1, Soft: 1}},
		},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "nodev", "noexec"}},
		},
		Linux: &specs.Linux{MaskedPaths: maskedPaths, ReadonlyPaths: readonlyPaths},
	}
	for _, ns := range []specs.LinuxNamespaceType{
		specs.MountNamespace, specs.PIDNamespace, specs.IPCNamespace, specs.UTSNamespace, specs.NetworkNamespace, specs.CgroupNamespace,
	} {
		spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: ns})
	}
	if maxPIDs > 0 {
		spec.Process.Rlimits = append(spec.Process.Rlimits, specs.POSIXRlimit{Type: "RLIMIT_NPROC", Hard: maxPIDs, Soft: maxPIDs})
	}
	return spec
}
