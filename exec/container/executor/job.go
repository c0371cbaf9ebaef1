package executor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec/container/enter"
	"github.com/kilnbuild/kiln/exec/container/wire"
	"github.com/kilnbuild/kiln/warehouse"
)

// A job is a step in this executor: a directory, a tree of mounts, a container.
type job struct {
	wire.Job
	tree    tree
	box     *container
	logs    *os.File // read end of the command's output
	started bool     // Start was asked for; guarded by the executor's lock
	mu      sync.Mutex
	began   time.Time // zero until the command runs
	over    bool      // the first process has ended
	timeUp  bool
	ended   bool // End was asked for
}

// A jobError is a Failed in the making.
type jobError struct {
	wire.Failed
	err error
}

func (e *jobError) Error() string { return e.err.Error() }
func (e *jobError) Unwrap() error { return e.err }

func failed(stage string, err error) *jobError {
	return &jobError{wire.Failed{Stage: stage, Err: err.Error()}, err}
}

// prepare makes everything that can be made before the late inputs are known,
// down to a container whose process waits.
func (x *executor) prepare(spec wire.Job, files []*os.File) (*job, error) {
	id := strconv.FormatInt(spec.ID, 10)
	j := &job{Job: spec, tree: tree{dir: filepath.Join(jobsDir, id), disk: filepath.Join(x.dir, id)}}
	ready := false
	defer func() {
		if !ready {
			j.discard()
		}
	}()
	if err := j.buildTree(); err != nil {
		return nil, err
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, failed(wire.StagePrepare, err)
	}
	defer writer.Close()
	j.logs = reader
	l := limits{pids: x.hello.MaxPIDs, data: spec.MaxData, readOnly: spec.ReadOnly, network: spec.Network}
	if spec.MaxPIDs > 0 {
		l.pids = spec.MaxPIDs
	}
	config, err := containerConfig(j.tree.root, j.tree.dev, l)
	if err != nil {
		return nil, failed(wire.StagePrepare, err)
	}
	s := streams{stdout: writer, stderr: writer, uid: spec.UID, gid: spec.GID}
	if spec.GroupsOnly {
		s.groups = files
	} else if len(files) >= 2 {
		s.stdin, s.stdout, s.groups = files[0], files[1], files[2:]
		if spec.Terminal {
			s.stderr = s.stdout
		}
	}
	j.box, err = create("job-"+id, config, x.enter, s)
	if err != nil {
		return nil, failed(wire.StagePrepare, err)
	}
	ready = true
	return j, nil
}

// run runs a prepared job to its end and reports all of it.
func (x *executor) run(j *job, s wire.Start) {
	exited, outputs, err := x.runToEnd(j, s)
	var fail *jobError
	switch {
	case errors.As(err, &fail):
		fail.ID = j.ID
		x.conn.Send(wire.KindFailed, fail.Failed)
	case exited.Code == 0:
		x.conn.Send(wire.KindPacked, wire.Packed{ID: j.ID, Outputs: outputs})
	}
	j.discard()
}

func (x *executor) runToEnd(j *job, s wire.Start) (wire.Exited, map[string]warehouse.Record, error) {
	if err := j.tree.mountLate(s.Mounts); err != nil {
		return wire.Exited{}, nil, err
	}
	if len(s.Args) == 0 {
		return x.runNothing(j, s)
	}
	message := enter.Message{Filter: x.hello.Filter, Cwd: s.Cwd, Args: s.Args, Env: s.Env}
	began := time.Now()
	if err := j.box.become(message); err != nil {
		var refused *enter.Error
		if errors.As(err, &refused) && refused.Stage == 'C' {
			return wire.Exited{}, nil, failed(wire.StageStart, fmt.Errorf("enter the working directory %s: %w", s.Cwd, refused.Errno))
		}
		return wire.Exited{}, nil, failed(wire.StageStart, fmt.Errorf("%s: %w", s.Args[0], err))
	}
	j.mu.Lock()
	j.began = began
	j.mu.Unlock()
	if s.Timeout > 0 {
		timer := time.AfterFunc(s.Timeout, func() { j.end(endGrace, true) })
		defer timer.Stop()
	}
	x.copyLogs(j)
	exited := j.wait()
	x.conn.Send(wire.KindExited, exited)
	if exited.Code != 0 {
		return exited, nil, nil
	}
	outputs, err := x.packOutputs(j, s.Outputs)
	return exited, outputs, err
}

// runNothing ends a job that has no command as if one had ended well.
func (x *executor) runNothing(j *job, s wire.Start) (wire.Exited, map[string]warehouse.Record, error) {
	j.mu.Lock()
	j.over = true
	j.mu.Unlock()
	j.box.abandon()
	j.box = nil
	exited := wire.Exited{ID: j.ID, Entry: -1}
	x.conn.Send(wire.KindExited, exited)
	outputs, err := x.packOutputs(j, s.Outputs)
	return exited, outputs, err
}

// endGrace is how long a command that handles SIGTERM may take to end when its
// time is up.
const endGrace = 5 * time.Second

// copyLogs sends what the command writes until nothing holds its output open,
// which is when every process of the job has ended.
func (x *executor) copyLogs(j *job) {
	buf := make([]byte, 32<<10)
	for {
		n, err := j.logs.Read(buf)
		if n > 0 && x.conn.SendLog(j.ID, buf[:n]) != nil || err != nil {
			return
		}
	}
}

// wait waits for the job's processes and says how the first one ended.
func (j *job) wait() wire.Exited {
	state, err := j.box.wait()
	j.mu.Lock()
	j.over = true
	e := wire.Exited{ID: j.ID, Code: -1, TimedOut: j.timeUp, Ended: j.ended, Entry: -1, Duration: time.Since(j.began)}
	j.mu.Unlock()
	if err == nil {
		status := state.Sys().(syscall.WaitStatus)
		e.Code = status.ExitStatus()
		if status.Signaled() {
			e.Signal = int(status.Signal())
		}
	}
	if (e.TimedOut || e.Ended) && e.Code == 0 {
		e.Code = -1 // it took the hint; that is still not a result
	}
	if len(j.Scripts) > 0 {
		e.Entry = j.lastEntry()
	}
	return e
}

// end asks the first process to end, and makes it when it does not within grace.
// A process that would ignore SIGTERM, as pid 1 does unless it says otherwise, is
// killed at once. Killing pid 1 ends every process of the job.
func (j *job) end(grace time.Duration, timeUp bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.over || j.timeUp || j.ended {
		return
	}
	j.timeUp, j.ended = timeUp, !timeUp
	if grace > 0 && handlesTerm(j.box.process) {
		j.box.lc.Signal(unix.SIGTERM)
		time.AfterFunc(grace, j.kill)
		return
	}
	j.box.lc.Signal(unix.SIGKILL)
}

func (j *job) kill() {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.over {
		j.box.lc.Signal(unix.SIGKILL)
	}
}

// handlesTerm reports whether the process has a handler for SIGTERM.
func handlesTerm(p interface{ Pid() (int, error) }) bool {
	pid, err := p.Pid()
	if err != nil {
		return false
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range strings.SplitSeq(string(status), "\n") {
		if caught, ok := strings.CutPrefix(line, "SigCgt:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(caught), 16, 64)
			return err == nil && mask&(1<<(unix.SIGTERM-1)) != 0
		}
	}
	return false
}

// memory returns the bytes that the job's first process has resident, or 0.
func (j *job) memory() int64 {
	pid, err := j.box.process.Pid()
	if err != nil {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, resident int64
	fmt.Sscan(string(text), &size, &resident)
	return resident * int64(os.Getpagesize())
}

// discard takes down what is left of the job. Its processes have ended or never
// became anything.
func (j *job) discard() {
	if j.box != nil {
		j.mu.Lock()
		unstarted := j.began.IsZero()
		j.mu.Unlock()
		if unstarted {
			j.box.abandon()
		} else {
			j.box.lc.Destroy()
		}
	}
	if j.logs != nil {
		j.logs.Close()
	}
	j.tree.remove()
}
