package exec

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/container/bundle"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/plan"
	"github.com/kilnbuild/kiln/warehouse"
)

// WriteBundle writes a step as an OCI bundle to dir, which must not exist: a
// config.json and a root file system of its own, for any OCI runtime to run as this
// user. It is as isolated as in a run of kiln's, but writes to copies, since a
// plain runtime has no overlays; other read-only inputs are mounted from the
// warehouse. Every input must be in the warehouse.
func WriteBundle(ctx context.Context, local *warehouse.Local, r plan.Resolved, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	spec := bundle.New(0)
	uid, gid := ids(r.User)
	spec.Process.Args, spec.Process.Env, spec.Process.Cwd = command(r.Step), environment(r.Step), r.Cwd
	spec.Process.User.UID, spec.Process.User.GID = uint32(uid), uint32(gid)
	if err := standAlone(spec); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	limit(spec, r.Resources.Limits)
	if r.Network {
		spec.Linux.Namespaces = slices.DeleteFunc(spec.Linux.Namespaces, func(ns specs.LinuxNamespace) bool { return ns.Type == specs.NetworkNamespace })
	}
	root := filepath.Join(dir, "rootfs")
	spec.Root.Path = "rootfs"
	if err := os.Mkdir(root, 0o755); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	for i, in := range r.Inputs {
		if err := addInput(ctx, local, spec, dir, i, in); err != nil {
			return fmt.Errorf("write bundle: input %s: %w", in.Port, err)
		}
	}
	if len(r.Action.Script) > 0 {
		if err := bundle.WriteScript(filepath.Join(dir, "script"), r.Action.Script, r.Action.Continue); err != nil {
			return fmt.Errorf("write bundle: %w", err)
		}
		spec.Mounts = append(spec.Mounts, specs.Mount{Destination: bundle.ScriptDir, Type: "bind", Source: "script", Options: []string{"bind", "nosuid", "nodev"}})
	}
	if err := bundle.CapRlimits(spec); err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	text, err := json.MarshalIndent(spec, "", "  ")
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), append(text, '\n'), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write bundle: %w", err)
	}
	return nil
}

// limit gives a spec a step's limits, as the cgroups of a run have them.
func limit(spec *specs.Spec, l Amounts) {
	if l == (Amounts{}) {
		return
	}
	r := &specs.LinuxResources{}
	if l.Memory > 0 {
		r.Memory = &specs.LinuxMemory{Limit: &l.Memory, Swap: &l.Memory} // no swap on top
	}
	if l.CPUs > 0 {
		period := uint64(100_000) // microseconds, the kernel's default
		quota := int64(l.CPUs * float64(period))
		r.CPU = &specs.LinuxCPU{Period: &period, Quota: &quota}
	}
	if l.PIDs > 0 {
		r.Pids = &specs.LinuxPids{Limit: &l.PIDs}
	}
	spec.Linux.Resources = r
}

// standAlone adds to a spec what kiln's executor does otherwise: the user namespace,
// /dev, /tmp, the seccomp profile.
func standAlone(spec *specs.Spec) error {
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(os.Geteuid()), Size: 1}}
	spec.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(os.Getegid()), Size: 1}}
	spec.Mounts = append(spec.Mounts,
		specs.Mount{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "noexec", "mode=755"}},
		specs.Mount{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"}},
		specs.Mount{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=64m"}},
		specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmp", Options: []string{"nosuid", "nodev", "mode=1777"}},
	)
	var err error
	spec.Linux.Seccomp, err = container.SeccompProfile(true)
	return err
}

// addInput puts an input into the bundle: copied where the step may write, else
// mounted from where it is.
func addInput(ctx context.Context, local *warehouse.Local, spec *specs.Spec, dir string, i int, in plan.ResolvedInput) error {
	if in.Host != "" {
		return addHost(spec, in)
	}
	rec, err := local.Get(in.Ware)
	if err != nil {
		return err
	}
	if in.Port == "/" {
		return pack.Export(ctx, local, in.Ware, filepath.Join(dir, "rootfs"), pack.ExportOptions{})
	}
	mount := specs.Mount{Destination: in.Port, Type: "bind", Source: local.Fileset(rec), Options: []string{"bind", "ro", "nosuid", "nodev"}}
	if in.Mode == formula.Overlay {
		mount.Source = "input-" + strconv.Itoa(i)
		mount.Options = []string{"bind", "nosuid", "nodev"}
		if err := pack.Export(ctx, local, in.Ware, filepath.Join(dir, mount.Source), pack.ExportOptions{}); err != nil {
			return err
		}
	}
	spec.Mounts = append(spec.Mounts, mount)
	return nil
}

// addHost mounts a path of this machine as it is.
func addHost(spec *specs.Spec, in plan.ResolvedInput) error {
	mode := "ro"
	switch in.Mode {
	case formula.ReadWrite:
		mode = "rw"
	case formula.Overlay:
		return fmt.Errorf("%s is mounted as an overlay, which a plain runtime does not have", in.Host)
	}
	spec.Mounts = append(spec.Mounts, specs.Mount{Destination: in.Port, Type: "bind", Source: in.Host, Options: []string{"rbind", mode, "nosuid", "nodev"}})
	return nil
}
