package inside

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/capture"
	"github.com/kilnbuild/kiln/exec/container/bundle"
	"github.com/kilnbuild/kiln/exec/delegate"
)

// prepare lays out the script and makes what the command inherits as in a container of
// kiln's.
func (h *helper) prepare() error {
	if len(h.Spec.Script) > 0 {
		if err := bundle.WriteScript(h.script, h.Spec.Script, h.Spec.Continue); err != nil {
			return fmt.Errorf("lay out the script: %w", err)
		}
	}
	if mode, ok := h.Points["/"]; ok {
		os.Chmod("/", os.FileMode(mode)) // where it may not be, it is as it is
	}
	for path, content := range h.Files {
		if err := os.WriteFile(path, content, 0o644); err != nil {
			return fmt.Errorf("write %s as the root has it: %w", path, err)
		}
		os.Chtimes(path, outputTime, outputTime)
	}
	// As the bundle has it: a core dump would be part of an output.
	core := unix.Rlimit{Cur: 1, Max: 1}
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &own); err == nil {
		core.Cur, core.Max = min(1, own.Max), min(1, own.Max)
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &core); err != nil {
		return fmt.Errorf("forbid core dumps: %w", err)
	}
	return nil
}

// outputTime is the mtime of what wares are made of, unless a filter says otherwise.
var outputTime = time.Unix(1262304000, 0)

// command runs the command to the end of its last process.
func (h *helper) command(ctx context.Context) error {
	if err := context.Cause(ctx); err != nil {
		return err
	}
	args := h.Spec.Command
	if len(h.Spec.Script) > 0 {
		args = append(slices.Clone(args), bundle.ScriptMain)
	}
	if len(args) == 0 {
		return nil // the outputs are what is there
	}
	kills := oomKills()
	stopLogs, err := h.openLogs()
	if err != nil {
		return fail(exec.ReasonSetup, fmt.Errorf("take what the command writes: %w", err))
	}
	defer stopLogs()
	pid, err := h.start(args)
	if err != nil {
		return fail(exec.ReasonSetup, err)
	}
	h.result.Started = time.Now().UTC()
	ended := make(chan struct{})
	go h.end(ctx, pid, ended)
	status, err := reap(pid)
	close(ended)
	h.inTime()
	if err != nil {
		return fail(exec.ReasonLost, err)
	}
	h.result.Ended = time.Now().UTC()
	endOthers()
	return h.classify(ctx, status, oomKills() > kills)
}

// start starts the command. What its name means is decided as in package enter.
func (h *helper) start(args []string) (pid int, err error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	dir := h.Spec.Dir
	if dir == "" {
		dir = "/"
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		if err == nil {
			err = unix.ENOTDIR
		}
		return 0, fmt.Errorf("enter the working directory %s: %w", dir, cause(err))
	}
	files := []uintptr{null.Fd(), h.logs[0].File().Fd(), h.logs[len(h.logs)-1].File().Fd()}
	if h.Confine || h.offlineHere() || len(h.marks) > 0 {
		return h.enter(args, dir, files)
	}
	attr := &syscall.ProcAttr{Dir: dir, Env: h.Spec.Env, Files: files, Sys: &syscall.SysProcAttr{Setsid: true}}
	if os.Geteuid() == 0 {
		attr.Sys.Credential = &syscall.Credential{Uid: uint32(h.uid), Gid: uint32(h.gid)}
		// In a user namespace of one group there is none to give up, and it may not be tried.
		attr.Sys.Credential.NoSetGroups = errors.Is(syscall.Setgroups(nil), unix.EPERM)
	}
	said := error(unix.ENOENT)
	for _, path := range candidates(args[0], h.Spec.Env) {
		pid, err := syscall.ForkExec(path, args, attr)
		if err == nil {
			return pid, nil
		}
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) {
			said = err
		}
	}
	return 0, fmt.Errorf("%s: %w", args[0], said)
}

// openLogs has what the command is going to write pass through this process. What is called
// in the end waits for the rest of it.
func (h *helper) openLogs() (stop func(), err error) {
	to := []*os.File{os.Stdout, os.Stderr}
	if h.Merge {
		to = to[:1]
	}
	stop = func() {
		for i, l := range h.logs {
			taken, _ := l.Close() // who does not take it knows why
			h.result.Logged[i] = taken.Kept
			h.result.Unlogged += taken.Left
			drain(to[i], taken.Kept)
		}
	}
	for _, f := range to {
		l, err := capture.Start(f, h.Spec.LogLimit)
		if err != nil {
			stop()
			return nil, err
		}
		h.logs = append(h.logs, l)
	}
	return stop, nil
}

// What reads a container's log, which lets go of what it has not passed on when the
// container ends: seen of containerd's shim.
const (
	readerBuffers  = 64 << 10               // bytes that may be in them
	readerLag      = 100 * time.Millisecond // to pass them on
	readerPatience = 10 * time.Second       // until it reads something
)

// drain waits until what was written to a pipe, so many bytes, has been read.
func drain(pipe *os.File, written int64) {
	look := func() int {
		n, err := unix.IoctlGetInt(int(pipe.Fd()), unix.TIOCINQ)
		if err != nil {
			return 0 // it is a file
		}
		return n
	}
	left, since := look(), time.Now()
	if left == 0 && written <= readerBuffers {
		return
	}
	for left > 0 && time.Since(since) < readerPatience {
		time.Sleep(time.Millisecond)
		if n := look(); n != left {
			left, since = n, time.Now()
		}
	}
	time.Sleep(readerLag)
}

// candidates returns where a command may be, by its name and the PATH in env.
func candidates(name string, env []string) []string {
	if strings.Contains(name, "/") {
		return []string{name}
	}
	var paths []string
	for _, v := range env {
		if dirs, ok := strings.CutPrefix(v, "PATH="); ok {
			for dir := range strings.SplitSeq(dirs, ":") {
				paths = append(paths, dir+"/"+name)
			}
			break
		}
	}
	return paths
}

// end asks the command to end when ctx does, and makes it when it does not.
func (h *helper) end(ctx context.Context, pid int, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	unix.Kill(pid, unix.SIGTERM)
	grace := h.Grace
	if grace == 0 {
		grace = delegate.DefaultGrace
	}
	select {
	case <-ended:
	case <-time.After(grace):
		unix.Kill(pid, unix.SIGKILL)
	}
}

// reap waits for a child, and takes in every other process that ends meanwhile and has
// nobody else to wait for it.
func reap(pid int) (status unix.WaitStatus, err error) {
	for {
		got, err := unix.Wait4(-1, &status, 0, nil)
		if got == pid {
			return status, nil
		}
		if err != nil && err != unix.EINTR {
			return status, fmt.Errorf("wait for the command: %w", err)
		}
	}
}

// endOthers ends every process that the command has left behind.
func endOthers() {
	for {
		if os.Getpid() == 1 {
			unix.Kill(-1, unix.SIGKILL)
		} else {
			for _, child := range children() {
				unix.Kill(child, unix.SIGKILL)
			}
		}
		if _, err := unix.Wait4(-1, nil, 0, nil); err == unix.ECHILD {
			return
		}
	}
}

// children returns the process ids of the helper's children: what it started, and what
// has lost its own parent.
func children() (pids []int) {
	threads, _ := filepath.Glob("/proc/self/task/*/children")
	for _, path := range threads {
		text, _ := os.ReadFile(path)
		for word := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// classify says how the command ended.
func (h *helper) classify(ctx context.Context, status unix.WaitStatus, oom bool) error {
	r := &h.result
	if status.Signaled() {
		r.Signal = int(status.Signal())
	} else if code := status.ExitStatus(); code != 0 || context.Cause(ctx) == nil {
		r.ExitCode = &code
	}
	if entry := bundle.ScriptPosition(h.script, len(h.Spec.Script)); entry >= 0 && (r.Signal > 0 || r.ExitCode == nil || *r.ExitCode != 0) {
		r.Entry = &entry
	}
	switch err := context.Cause(ctx); {
	case err != nil:
		return err
	case oom:
		return fail(exec.ReasonOutOfMemory, errors.New("the kernel killed a process of it: its memory was used up"))
	case r.Signal > 0:
		return fail(exec.ReasonSignal, fmt.Errorf("ended by signal %d (%s)", r.Signal, unix.SignalName(status.Signal())))
	case *r.ExitCode != 0:
		return fail(exec.ReasonExit, fmt.Errorf("exit code %d", *r.ExitCode))
	}
	return nil
}

// cause returns what a system call said, without the path that everybody knows.
func cause(err error) error {
	var at *os.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
