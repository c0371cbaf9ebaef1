package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/container/bundle"
)

// Options say where a command's output goes and what is around it.
type Options struct {
	Stdout, Stderr *os.File // may be one file
	ScriptDir      string   // where a script is laid out and found; must not exist
	// Alone says that this process starts nothing else meanwhile: whatever becomes its
	// child is the command's. It becomes the parent of those whose own has ended, so that
	// none is left behind.
	Alone   bool
	Started func(pid int) error // called once the command runs; an error ends it; may be nil
}

// Grace is how long a command that is asked to end may take to.
const Grace = 5 * time.Second

// Command runs the command of s where this process is, in a session of its own, and
// returns when it and all that it has started have ended. What s says of roots, images,
// inputs, outputs, mounts, the network and timeouts is the caller's business. When ctx
// ends, the processes get SIGTERM and after Grace SIGKILL; why ctx ended, the caller
// knows.
func Command(ctx context.Context, s exec.JobSpec, o Options) exec.End {
	c, err := newCommand(s, o)
	if err != nil {
		return exec.NotRun(exec.ReasonSetup, err.Error())
	}
	defer c.group.Remove()
	ended := make(chan exec.End)
	go func() { ended <- c.run(ctx) }()
	return <-ended
}

// A command is one that is about to run or runs.
type command struct {
	exec.JobSpec
	Options
	exe   string
	attr  os.ProcAttr
	group *container.Group
}

func newCommand(s exec.JobSpec, o Options) (*command, error) {
	c := &command{JobSpec: s, Options: o}
	stdin, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	dir := s.Dir
	if dir == "" {
		dir = "/"
	}
	c.attr = os.ProcAttr{
		Dir: dir, Env: s.Env, Files: []*os.File{stdin, o.Stdout, o.Stderr},
		// The signal comes if this process dies, also by SIGKILL.
		Sys: &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL},
	}
	if c.attr.Env == nil {
		c.attr.Env = []string{} // nil would be this process's
	}
	if c.attr.Sys.Credential, err = credential(s); err != nil {
		return nil, err
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("enter the working directory %s: %w", dir, errors.Join(err, notDir(info)))
	}
	if len(s.Script) > 0 {
		if err := bundle.WriteScriptAt(o.ScriptDir, o.ScriptDir, s.Script, s.Continue); err != nil {
			return nil, fmt.Errorf("write the script: %w", err)
		}
		c.Command = append(s.Command[:len(s.Command):len(s.Command)], filepath.Join(o.ScriptDir, "main"))
	}
	if c.exe, err = lookUp(s.Command[0], dir, s.Env); err != nil {
		return nil, err
	}
	var left map[string]error
	c.group, left = container.NewGroup(exec.LimitsOf(s.Resources))
	if len(left) > 0 && !s.Resources.BestEffort {
		c.group.Remove()
		_, err := exec.Enforceable(s.Resources)
		return nil, err
	}
	return c, nil
}

func notDir(info fs.FileInfo) error {
	if info == nil {
		return nil
	}
	return unix.ENOTDIR
}

// credential is the user that a command runs as, or nil for this process's own. Only
// root may choose.
func credential(s exec.JobSpec) (*syscall.Credential, error) {
	uid, gid, err := s.IDs()
	if err != nil || s.User == "" || uid == os.Geteuid() && gid == os.Getegid() {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, unsupported("only root may run a command as another user (%s)", s.User)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

// lookUp finds a command as a shell would that begins with env in dir.
func lookUp(name, dir string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		if !path.IsAbs(name) {
			name = filepath.Join(dir, name)
		}
		return name, nil
	}
	search := ""
	for _, v := range env {
		if value, ok := strings.CutPrefix(v, "PATH="); ok {
			search = value
		}
	}
	for _, p := range filepath.SplitList(search) {
		if !path.IsAbs(p) {
			p = filepath.Join(dir, p)
		}
		file := filepath.Join(p, name)
		if info, err := os.Stat(file); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s: not found in PATH=%s", name, search)
}

// run runs the command to its end. It stays on one thread, whose death would be the
// command's.
func (c *command) run(ctx context.Context) exec.End {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if c.Alone {
		unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
		unix.Umask(0o022)
	}
	detach, err := c.group.Attach(c.attr.Sys)
	if err != nil {
		return exec.NotRun(exec.ReasonSetup, err.Error())
	}
	began := time.Now()
	process, err := os.StartProcess(c.exe, c.Command, &c.attr)
	detach()
	c.attr.Files[0].Close()
	if err != nil {
		return exec.NotRun(exec.ReasonSetup, startError(c.Command[0], err))
	}
	gone := make(chan struct{})
	noted := make(chan error, 1)
	go func() { noted <- c.note(process.Pid, gone) }() // beside the command: it may take a slow disk's time
	stop := context.AfterFunc(ctx, func() { c.end(process.Pid, gone) })
	if c.Alone {
		reapOthers(process.Pid)
	}
	state, err := process.Wait()
	took := time.Since(began)
	close(gone)
	stop()
	c.killRest(process.Pid)
	if noteErr := <-noted; noteErr != nil {
		err = noteErr
	}
	if err != nil {
		return exec.NotRun(exec.ReasonSetup, err.Error())
	}
	return c.endOf(state, began, took)
}

// note tells the caller that the command runs; if that fails, it kills the command, unless
// that is gone.
func (c *command) note(pid int, gone <-chan struct{}) error {
	if c.Started == nil {
		return nil
	}
	err := c.Started(pid)
	if err == nil {
		return nil
	}
	select {
	case <-gone:
	default:
		c.signal(pid, unix.SIGKILL)
	}
	return err
}

func startError(name string, err error) string {
	if errors.Is(err, unix.E2BIG) {
		return name + ": its arguments and environment are longer than the kernel takes"
	}
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return name + ": " + err.Error()
}

// endOf says how the command ended.
func (c *command) endOf(state *os.ProcessState, began time.Time, took time.Duration) exec.End {
	status := state.Sys().(syscall.WaitStatus)
	e := exec.Exited(status.ExitStatus(), 0)
	if status.Signaled() {
		e.Signal = int(status.Signal())
	}
	e.Started, e.Took = began, took
	if len(c.Script) > 0 {
		e.Entry = bundle.ScriptPosition(c.ScriptDir, len(c.Script))
	}
	// Also of a command that ended well: what it made of a process of its that was ended
	// under it depends on how much memory there was.
	if c.group.OutOfMemory() {
		e.Reason = exec.ReasonOutOfMemory
		e.Message = exec.OutOfMemory(c.Resources)
	}
	return e
}

// end asks the command's processes to end, and makes them.
func (c *command) end(pid int, gone <-chan struct{}) {
	c.signal(pid, unix.SIGTERM)
	select {
	case <-gone:
	case <-time.After(Grace):
		c.signal(pid, unix.SIGKILL)
	}
}
