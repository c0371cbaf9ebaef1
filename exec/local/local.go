// Package local runs commands on this machine as they are, with no isolation at all:
// they see all of its files, processes and network that their user does. What it shares
// with others is how a command is started, limited, ended and its end understood; the
// environments that have walls of their own use that inside them.
package local

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/registry"
	"github.com/kilnbuild/kiln/exec/supervise"
)

// Name is the runner's.
const Name = "local"

// Isolation is what the records of its runs say.
const Isolation = "none"

// New returns the local runner; self as in supervise.New.
func New(g *registry.Registry, self []string) *supervise.Runner {
	return supervise.New(Name, g, Environment{}, self)
}

// Environment is this machine, as it is.
type Environment struct{}

// Check implements supervise.Environment: there is nothing that could keep a process
// from starting another.
func (Environment) Check(context.Context) error { return nil }

// Accept implements supervise.Environment.
func (Environment) Accept(_ context.Context, r *exec.Run) error {
	s := r.Spec
	r.Isolation, r.Offline = Isolation, exec.OfflineNone
	switch {
	case !s.Root.IsZero():
		return unsupported("the local runner has no root of its own to put %s at: use --runner container", s.Root)
	case s.Image != "":
		return unsupported("the local runner has no images: use a runner that does, or no image")
	case len(s.Inputs) > 0:
		return unsupported("the local runner has no mounts, so nothing can be put at %s: use --runner container", s.Inputs[0].Port)
	case len(s.Mounts) > 0:
		return unsupported("the local runner has no mounts: the command sees %s where it is", s.Mounts[0].Host)
	case len(s.Outputs) > 0:
		return unsupported("the local runner packs nothing, as it cannot tell what a command made from what was there: use --runner container")
	}
	if _, err := credential(s); err != nil {
		return err
	}
	if err := container.Enough(s.Resources.Requests.CPUs, s.Resources.Requests.Memory); err != nil {
		return unsupported("%v", err)
	}
	var err error
	r.Unenforced, err = exec.Enforceable(s.Resources)
	return err
}

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %w", exec.ErrUnsupported, fmt.Errorf(format, args...))
}

// Carry implements supervise.Environment.
func (Environment) Carry(ctx context.Context, j *supervise.Job) exec.End {
	end := Command(ctx, j.Spec, Options{
		Stdout: j.Stdout, Stderr: j.Stderr, ScriptDir: filepath.Join(j.Dir, "script"), Alone: true,
		Started: func(pid int) error { return j.Running(handleOf(pid)) },
	})
	if end.ExitCode >= 0 || end.Signal > 0 {
		if err := j.Exited(end.ExitCode, end.Signal); err != nil {
			end.Message = err.Error()
		}
	}
	return supervise.EndedBy(ctx, end)
}

// A handle is how the processes of a run are found when its supervisor was killed.
type handle struct {
	Session int    `json:"session"` // the command's pid, which is that of its session
	Start   uint64 `json:"start"`   // of the command: ticks since boot
	Boot    string `json:"boot"`    // the kernel's id of this boot
}

func handleOf(pid int) handle {
	p, _ := readProcess(pid)
	return handle{pid, p.start, bootID()}
}

// Sweep implements supervise.Environment: it kills what is left of a run's session. The
// number of a session is not given to another while one of its processes lives.
func (Environment) Sweep(r exec.Run) {
	var h handle
	if json.Unmarshal(r.Handle, &h) != nil || h.Session <= 1 || h.Boot == "" || h.Boot != bootID() {
		return
	}
	if p, err := readProcess(h.Session); err == nil && p.start != h.Start {
		return // the number is another's by now
	}
	killAll(func(map[int]process) func(process) bool {
		return func(p process) bool { return p.session == h.Session && p.start >= h.Start }
	})
}

func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text))
}

// A process is what /proc says of one.
type process struct {
	pid, parent, session int
	start                uint64 // ticks since boot
	zombie               bool
}

func readProcess(pid int) (process, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return process{}, err
	}
	_, rest, ok := strings.Cut(string(text[strings.LastIndexByte(string(text), ')')+1:]), " ") // its name may hold anything
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return process{}, fmt.Errorf("read process %d: unexpected form", pid)
	}
	p := process{pid: pid, zombie: fields[0] == "Z" || fields[0] == "X"}
	p.parent, _ = strconv.Atoi(fields[1])
	p.session, _ = strconv.Atoi(fields[3])
	p.start, _ = strconv.ParseUint(fields[19], 10, 64)
	return p, nil
}

// processes returns all there are, but for zombies.
func processes() map[int]process {
	all := map[int]process{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			if p, err := readProcess(pid); err == nil && !p.zombie {
				all[pid] = p
			}
		}
	}
	return all
}
