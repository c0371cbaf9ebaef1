// Package container runs jobs in rootless containers: it enters one user namespace
// for a run, with an empty network, starts the executor there, and speaks to it.
// It knows nothing of plans; package exec schedules.
package container

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec/container/wire"
	"github.com/kilnbuild/kiln/internal/sealed"
)

// Binaries are the executables a run needs besides kiln: static, for this machine.
type Binaries struct {
	Executor []byte // cmd/kiln-executor
	Enter    []byte // cmd/kiln-enter
}

// Config says where and how the executor runs.
type Config struct {
	Binaries  Binaries
	Warehouse string   // absolute path of the local warehouse
	Run       string   // names this run's work directory; unique among live runs
	MaxPIDs   uint64   // processes the run may have at once; 0: no limit
	Hosts     []string // paths that jobs may have mounted, absolute
	Network   bool     // jobs may have this machine's network; the executor is in it then
}

// An Executor is one user namespace with an executor in it, ready to take jobs.
type Executor struct {
	conn   *wire.Conn
	cmd    *osexec.Cmd
	socket *os.File
	files  *os.File   // for files of jobs
	filesM sync.Mutex // held from a job's files to its Prepare
	stderr *tail
	ids    Mapping
	pids   *pidsGroup
	ended  chan struct{} // closed when the process has
	events chan wire.Frame
	closed sync.Once
}

// Start enters the namespaces and waits until the executor can take jobs. The
// error is a *Refused where the system does not allow it.
func Start(c Config) (*Executor, error) {
	exe, err := sealed.File("kiln-executor", c.Binaries.Executor)
	if err != nil {
		return nil, fmt.Errorf("load executor: %w", err)
	}
	defer exe.Close()
	enter, err := sealed.File("kiln-enter", c.Binaries.Enter)
	if err != nil {
		return nil, fmt.Errorf("load kiln-enter: %w", err)
	}
	defer enter.Close()
	x, err := spawn(exe, enter, c.Network)
	if err != nil {
		return nil, err
	}
	filter, err := jobFilter(x.ids.Count() == 1)
	if err != nil {
		x.Kill()
		return nil, fmt.Errorf("compile seccomp filter: %w", err)
	}
	go SweepGroups()
	x.pids = newPidsGroup(c.Run, c.MaxPIDs)
	if err := x.pids.add(x.cmd.Process.Pid); err != nil {
		x.Kill()
		return nil, err
	}
	hello := wire.Hello{Warehouse: []byte(c.Warehouse), Run: c.Run, Filter: filter, MaxPIDs: c.MaxPIDs}
	for _, path := range c.Hosts {
		hello.Hosts = append(hello.Hosts, []byte(path))
	}
	if err := x.greet(hello); err != nil {
		x.Kill()
		return nil, err
	}
	go x.receive()
	return x, nil
}

// spawn starts the executor in its namespaces with ids mapped.
func spawn(exe, enter *os.File, network bool) (*Executor, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make executor socket: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "executor"), os.NewFile(uintptr(pair[1]), "kiln")
	defer theirs.Close()
	pair, err = unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		ours.Close()
		return nil, fmt.Errorf("make executor socket: %w", err)
	}
	ourFiles, theirFiles := os.NewFile(uintptr(pair[0]), "executor files"), os.NewFile(uintptr(pair[1]), "kiln files")
	defer theirFiles.Close()
	ids := HostMapping()
	x := &Executor{socket: ours, files: ourFiles, conn: wire.NewConn(ours), stderr: &tail{}, ids: ids, events: make(chan wire.Frame, 256)}
	x.cmd = osexec.Command("/proc/self/fd/5", "serve") // its number in the child, where others' may be taken
	x.cmd.Args[0] = "kiln-executor"
	x.cmd.Dir = "/"
	x.cmd.Env = []string{"PATH=/usr/bin:/bin"}
	x.cmd.Stderr = x.stderr
	x.cmd.ExtraFiles = []*os.File{theirs, enter, exe, theirFiles} // in the order of package executor's constants
	x.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
			unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP,
		Pdeathsig: syscall.SIGKILL, // and with it, as first process of its pid namespace, everything else
		Setsid:    true,            // a terminal's Ctrl-C is for kiln, which ends jobs in order
	}
	if network {
		x.cmd.SysProcAttr.Cloneflags &^= unix.CLONE_NEWNET
	}
	if err := x.begin(); err != nil {
		ours.Close()
		ourFiles.Close()
		return nil, refused(err, "")
	}
	return x, nil
}

// begin starts the process. The signal that ends it with its parent comes when the
// thread that started it ends, so that thread is kept until the process has ended.
func (x *Executor) begin() error {
	started := make(chan error)
	x.ended = make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := x.ids.start(x.cmd)
		started <- err
		if err == nil {
			x.cmd.Wait()
			close(x.ended)
		}
	}()
	return <-started
}

func (x *Executor) greet(hello wire.Hello) error {
	if err := x.conn.Send(wire.KindHello, hello); err != nil {
		return fmt.Errorf("greet executor: %w", x.diagnose(err))
	}
	frame, err := x.conn.Receive()
	if err != nil {
		return fmt.Errorf("start executor: %w", x.diagnose(err))
	}
	var ready wire.Ready
	if err := frame.Decode(&ready); err != nil {
		return fmt.Errorf("start executor: %w", err)
	}
	if ready.Err != "" && ready.Stage == "" {
		return fmt.Errorf("start executor: %s", ready.Err)
	}
	if ready.Err != "" {
		return refused(errors.New(ready.Err), ready.Stage)
	}
	return nil
}

// diagnose adds what the executor wrote before it went.
func (x *Executor) diagnose(err error) error {
	x.Kill()
	if text := bytes.TrimSpace(x.stderr.bytes()); len(text) > 0 {
		return fmt.Errorf("%w: %s", err, text)
	}
	return err
}

func (x *Executor) receive() {
	defer close(x.events)
	for {
		frame, err := x.conn.Receive()
		if err != nil {
			return
		}
		x.events <- frame
	}
}

// Events delivers what the executor says. It is closed when the executor is gone.
func (x *Executor) Events() <-chan wire.Frame { return x.events }

// Prepare, Start and End send the message of that name. An error says why the
// executor is gone.
func (x *Executor) Prepare(j wire.Job) error { return x.send(wire.KindPrepare, j) }

// PrepareWith prepares a job that comes with files: its stdin, its stdout, and the
// cgroup.procs of groups that its processes are to be in. They stay open here. What
// the job writes to stderr is its log, or with a Terminal goes there.
func (x *Executor) PrepareWith(j wire.Job, files []*os.File) error {
	x.filesM.Lock()
	defer x.filesM.Unlock()
	j.Files = len(files)
	if err := wire.SendFiles(x.files, j.ID, files); err != nil {
		return fmt.Errorf("pass files to the executor: %w", err)
	}
	return x.Prepare(j)
}

// AskUsage has a Usage of a running job come as an event.
func (x *Executor) AskUsage(id int64) error { return x.send(wire.KindUsage, wire.Usage{ID: id}) }

// Start runs a prepared job.
func (x *Executor) Start(s wire.Start) error { return x.send(wire.KindStart, s) }

// End ends a job, prepared or running.
func (x *Executor) End(id int64, grace time.Duration) error {
	return x.send(wire.KindEnd, wire.End{ID: id, Grace: grace})
}

func (x *Executor) send(kind wire.Kind, message any) error {
	if err := x.conn.Send(kind, message); err != nil {
		return x.Gone()
	}
	return nil
}

// MayRunAs returns why a job cannot run as a user and group, or nil.
func (x *Executor) MayRunAs(uid, gid int) error { return x.ids.MayRunAs(uid, gid) }

// Gone returns why the executor ended, once Events is closed.
func (x *Executor) Gone() error {
	x.Kill() // it has ended or is about to; how, stays what it was
	how := "ended"
	if x.cmd.ProcessState != nil {
		how = x.cmd.ProcessState.String()
	}
	err := x.diagnose(fmt.Errorf("the executor ended unexpectedly: %s", how))
	return fmt.Errorf("%w\nSomething on this machine ended it; if memory ran short, dmesg tells. What is done is kept: run kiln again", err)
}

// closeGrace is how long the executor may take to clean up when it is closed. The
// next run removes what it then leaves.
const closeGrace = time.Minute

// Close asks the executor to end what runs, clean up and go, and waits for it.
// Events must still be read, or be closed.
func (x *Executor) Close() {
	x.leave(func() {
		unix.Shutdown(int(x.socket.Fd()), unix.SHUT_WR)
		defer time.AfterFunc(closeGrace, func() { x.cmd.Process.Kill() }).Stop()
		<-x.ended
	})
}

// Kill ends the executor and everything in it at once.
func (x *Executor) Kill() { x.leave(func() { x.cmd.Process.Kill() }) }

func (x *Executor) leave(how func()) {
	x.closed.Do(func() {
		how()
		<-x.ended
		x.socket.Close()
		x.files.Close()
		x.pids.remove()
	})
}

// tail keeps the last bytes written to it.
type tail struct {
	mu  sync.Mutex
	buf []byte
}

const tailSize = 8 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - tailSize; over > 0 {
		t.buf = append(t.buf[:0], t.buf[over:]...)
	}
	return len(p), nil
}

func (t *tail) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.buf)
}
