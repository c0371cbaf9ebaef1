package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/client"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/container/bundle"
	"github.com/kilnbuild/kiln/exec/delegate"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
)

// A job is a run on its way to being a container.
type job struct {
	*Runner
	*engine
	run     exec.Run
	helper  string
	shared  bool // the engine mounts what this machine has
	payload delegate.Payload
	mounts  []mount.Mount
	root    string // fileset of the root ware; "": none that is known
	inputs  []input
	using   *os.File // keeps the image of the root ware from being removed; nil: nothing does
}

// An input is a ware of this machine at a port.
type input struct {
	exec.JobInput
	rec warehouse.Record // of what is seen there: the ware, its filters applied
}

// create makes the run's container and all that it takes.
func (j *job) create(ctx context.Context) error {
	spec := j.run.Spec
	j.mounts = nil
	j.payload = delegate.Payload{Run: j.run.ID, Spec: spec, Timeout: spec.Timeout, Arrived: map[string]string{}, Network: delegate.NetworkRequire}
	j.payload.Spec.Resources.Limits = kept(spec.Resources.Limits, j.run.Unenforced)
	if err := j.lookAtInputs(ctx); err != nil {
		return &refusal{exec.ReasonInput, err}
	}
	image, err := j.image(ctx)
	if err != nil {
		return err
	}
	j.payload.Hidden, j.payload.Points = j.hidden()
	j.payload.Files = j.ownFiles()
	if j.shared {
		err = j.share()
	} else {
		j.payload.Sources, j.payload.Sink, j.payload.Confine = []string{storeURL(storeDir)}, storeURL(sinkDir), true
	}
	if err != nil {
		return fmt.Errorf("prepare the run's directory: %w", err)
	}
	for _, m := range spec.Mounts {
		j.bind(m.Host, m.Port, !m.Writable)
	}
	err = j.createFrom(ctx, image)
	if noImage(err) && spec.Image == "" { // somebody who is not of this user's kilns has removed it since
		if image, err = j.image(ctx); err == nil {
			err = j.createFrom(ctx, image)
		}
	}
	if noImage(err) {
		return &refusal{exec.ReasonImageMissing, err}
	}
	if err != nil {
		return fmt.Errorf("create the container: %w", err)
	}
	if j.shared {
		return nil
	}
	return j.send(ctx)
}

// createFrom makes the container. The engine's warnings are about limits that it leaves out:
// those the helper verifies.
func (j *job) createFrom(ctx context.Context, image string) error {
	_, err := j.ContainerCreate(ctx, client.ContainerCreateOptions{
		Name: containerName(j.run.ID), Image: image, Config: j.config(), HostConfig: j.hostConfig(),
	})
	return err
}

// noImage reports whether an engine says that it does not have a container's image.
func noImage(err error) bool {
	return errdefs.IsNotFound(err) && strings.Contains(strings.ToLower(err.Error()), "no such image")
}

// lookAtInputs makes sure that every ware is there and whole.
func (j *job) lookAtInputs(ctx context.Context) error {
	j.inputs = nil
	for _, in := range j.run.Spec.Inputs {
		rec, err := j.whole(ctx, in.Ware)
		if err == nil && in.Filters != "" {
			rec, err = j.filtered(ctx, rec, in.Filters)
		}
		if err != nil {
			return fmt.Errorf("input %s: %w", in.Port, err)
		}
		j.inputs = append(j.inputs, input{in, rec})
	}
	return nil
}

// whole returns the record of a ware that is in the warehouse as it should be.
func (j *job) whole(ctx context.Context, id warehouse.WareID) (warehouse.Record, error) {
	rec, err := j.Warehouse.Get(id)
	if err == nil {
		err = j.Warehouse.Hold(id)
	}
	switch {
	case errors.Is(err, warehouse.ErrMissing):
		return rec, fmt.Errorf("ware %s is not in the warehouse: run kiln fetch", id)
	case err != nil:
		return rec, err
	}
	if err := pack.Check(ctx, j.Warehouse, id); err != nil {
		return rec, fmt.Errorf("%w; to have it made or fetched again: kiln ware rm %s", err, id)
	}
	return rec, nil
}

// filtered returns a ware that is rec unpacked with filters.
func (j *job) filtered(ctx context.Context, rec warehouse.Record, filters string) (warehouse.Record, error) {
	f, err := pack.ParseUnpackFilters(filters)
	if err != nil || f.OwnersOnly() {
		return rec, err // in a step every file belongs to root
	}
	if rec, err = pack.Derive(ctx, j.Warehouse, rec.ID, f); err == nil {
		err = j.Warehouse.Hold(rec.ID)
	}
	return rec, err
}

// share lays out what is mounted at the container's /.kiln, and has inputs mounted from the
// warehouse: at their ports where that will do, else where the helper copies them from.
func (j *job) share() error {
	dir := j.workDir(j.run.ID)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	j.payload.Owned = true
	j.bind(dir, delegate.Dir, false)
	j.bind(j.helper, delegate.HelperPath, true)
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(delegate.HelperPath)), nil, 0o755); err != nil {
		return err
	}
	copied := copiedPorts(j.Warehouse, j.inputs)
	for i, in := range j.inputs {
		at := in.Port
		if copied[in.Port] {
			at = delegate.InputsDir + "/" + strconv.Itoa(i)
			if err := point(filepath.Join(dir, strings.TrimPrefix(at, delegate.Dir)), in.rec.File); err != nil {
				return err
			}
		}
		j.payload.Arrived[in.Port] = at
		j.payload.Confine = j.payload.Confine || at != in.Port && (in.Mode != formula.Overlay || in.rec.File)
		j.bind(j.Warehouse.Fileset(in.rec), at, true)
	}
	text, err := j.payload.Encode()
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, filepath.Base(delegate.PayloadPath)), text, 0o600) // it holds the environment
}

// point makes a mount point.
func point(at string, file bool) error {
	if !file {
		return os.MkdirAll(at, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return os.WriteFile(at, nil, 0o644)
}

// copiedPorts are those of inputs that cannot be mounted at their ports: the command may
// write there, another input lies below and has no place in the ware, or above it is one
// that is copied and would hide it.
func copiedPorts(l *warehouse.Local, inputs []input) map[string]bool {
	copied := map[string]bool{}
	for i, in := range inputs {
		copied[in.Port] = in.Mode == formula.Overlay && !in.rec.File // as in a container of kiln's
		for _, above := range inputs[:i] {
			copied[in.Port] = copied[in.Port] || copied[above.Port] && nested(in.Port, above.Port)
		}
		for _, below := range inputs[i+1:] {
			if nested(below.Port, in.Port) {
				_, err := os.Lstat(filepath.Join(l.Fileset(in.rec), strings.TrimPrefix(below.Port, in.Port)))
				copied[in.Port] = copied[in.Port] || err != nil
			}
		}
	}
	return copied
}

// nested reports whether port lies below outer.
func nested(port, outer string) bool { return strings.HasPrefix(port, outer+"/") }

// ownFiles returns what the root ware has where the engine puts files of its own: the
// helper writes it there. What the ware does not have is empty.
func (j *job) ownFiles() map[string][]byte {
	if j.root == "" || j.run.Spec.Network {
		return nil
	}
	files := map[string][]byte{}
	for _, name := range engineFiles {
		files[name] = nil
		if info, err := os.Lstat(j.root + name); err == nil && info.Mode().IsRegular() && info.Size() < maxOwnFile {
			files[name], _ = os.ReadFile(j.root + name)
		}
	}
	return files
}

// maxOwnFile is more than such files have.
const maxOwnFile = 64 << 10

// bind has a path of the engine's machine mounted.
func (j *job) bind(source, target string, readOnly bool) {
	j.mounts = append(j.mounts, mount.Mount{Type: mount.TypeBind, Source: source, Target: target, ReadOnly: readOnly})
}

// notShared reports whether an error says that the engine does not see a path of ours.
func notShared(err error) bool {
	text := err.Error()
	return strings.Contains(text, "bind source path does not exist") || strings.Contains(text, "statfs ")
}

// config is what the container is, as far as it is the same on every machine.
func (j *job) config() *container.Config {
	labels := maps.Clone(j.run.Spec.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[labelRun], labels[labelRuns], labels[labelName] = j.run.ID, j.runsDir(), j.run.Name
	return &container.Config{
		Hostname: bundle.Hostname, User: "0:0", WorkingDir: "/", Labels: labels,
		Entrypoint: []string{delegate.HelperPath}, Cmd: []string{delegate.Verb, "@" + delegate.PayloadPath},
		Healthcheck: &container.HealthConfig{Test: []string{"NONE"}}, StopSignal: "SIGTERM",
	}
}

// hostConfig is what the container may do: as much as a step in a container of kiln's.
func (j *job) hostConfig() *container.HostConfig {
	spec := j.run.Spec
	h := guarded(kept(spec.Resources.Limits, j.run.Unenforced))
	h.Mounts = j.mounts
	h.MaskedPaths, h.ReadonlyPaths = append(bundle.MaskedPaths(), maskedSys...), bundle.ReadonlyPaths()
	h.LogConfig = container.LogConfig{Type: "local", Config: map[string]string{"max-size": "1t", "max-file": "1", "compress": "false"}}
	if j.podman { // it has neither of Docker's; this one keeps every byte too
		h.LogConfig = container.LogConfig{Type: "k8s-file"}
	}
	for _, capability := range bundle.Capabilities {
		h.CapAdd = append(h.CapAdd, strings.TrimPrefix(capability, "CAP_"))
	}
	if spec.Network {
		h.NetworkMode = ""
	}
	if j.payload.Confine { // the helper's namespaces take what the filter forbids; it installs its own
		h.SecurityOpt = append(h.SecurityOpt, "seccomp=unconfined")
	}
	if j.shared && !j.podman { // a label on the warehouse would be for one container only
		h.SecurityOpt = append(h.SecurityOpt, "label=disable")
	}
	if h.PidsLimit != nil {
		*h.PidsLimit += delegate.HelperPIDs
	}
	return h
}

// guarded is what every container of kiln's has: no capabilities, no network, and limits.
func guarded(l exec.Amounts) *container.HostConfig {
	no := false
	h := &container.HostConfig{
		CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges"}, Init: &no, NetworkMode: "none",
		Resources: container.Resources{Memory: l.Memory, MemorySwap: l.Memory, NanoCPUs: int64(l.CPUs * 1e9)},
	}
	if l.PIDs > 0 {
		h.PidsLimit = &l.PIDs
	}
	return h
}

// kept returns limits without those that are left out.
func kept(l exec.Amounts, left []string) exec.Amounts {
	for _, name := range left {
		switch name {
		case "cpus":
			l.CPUs = 0
		case "memory":
			l.Memory = 0
		case "pids":
			l.PIDs = 0
		}
	}
	return l
}

// maskedSys is /sys but for the control groups, from which the helper tells limits: a
// container of kiln's has none.
var maskedSys = []string{
	"/sys/block", "/sys/bus", "/sys/class", "/sys/dev", "/sys/devices", "/sys/firmware", "/sys/hypervisor", "/sys/kernel", "/sys/module", "/sys/power",
}
