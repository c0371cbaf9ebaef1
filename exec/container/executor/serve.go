// Package executor is the inside of a run: it lives in the run's user namespace,
// behind an empty network, and makes a libcontainer container for each job and
// one for the packer. It is told what to do over package wire and decides nothing;
// package exec schedules.
package executor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec/container/wire"
)

// Where Serve finds the socket to kiln, the program kiln-enter, its own, and the
// socket for files.
const (
	SocketFD = 3
	EnterFD  = 4
	ExeFD    = 5
	FilesFD  = 6
)

type executor struct {
	hello  wire.Hello
	conn   *wire.Conn
	files  *os.File
	enter  *os.File // kiln-enter, every container's first command
	dir    string   // this run's directory below the warehouse's work directory
	lock   *os.File // held on dir while this run is alive
	packer func() (*packer, error)

	mu      sync.Mutex
	jobs    map[int64]*job
	givenUp map[int64]bool // End came while the job was being prepared
	running sync.WaitGroup
}

// Serve takes jobs until kiln closes the socket and returns the process's exit
// code. It expects to be the first process of new user, mount, pid, network, ipc,
// uts and cgroup namespaces.
func Serve() int {
	unix.Close(ExeFD)
	conn := wire.NewConn(os.NewFile(SocketFD, "kiln"))
	x, err := newExecutor(conn)
	if err != nil {
		ready := wire.Ready{Err: err.Error()}
		var setup *setupError
		if errors.As(err, &setup) {
			ready.Stage = setup.stage
		}
		conn.Send(wire.KindReady, ready)
		return 1
	}
	if err := conn.Send(wire.KindReady, wire.Ready{}); err != nil {
		return 1
	}
	for {
		frame, err := conn.Receive()
		if err != nil {
			break
		}
		if err := x.handle(frame); err != nil {
			fmt.Fprintln(os.Stderr, "executor:", err)
			return 1
		}
	}
	x.close()
	return 0
}

func newExecutor(conn *wire.Conn) (*executor, error) {
	x := &executor{conn: conn, jobs: map[int64]*job{}, givenUp: map[int64]bool{}}
	frame, err := conn.Receive()
	if err != nil {
		return nil, fmt.Errorf("read greeting: %w", err)
	}
	if err := frame.Decode(&x.hello); err != nil {
		return nil, fmt.Errorf("read greeting: %w", err)
	}
	x.enter, x.files = os.NewFile(EnterFD, "kiln-enter"), os.NewFile(FilesFD, "files")
	unix.CloseOnExec(EnterFD)
	unix.CloseOnExec(FilesFD)
	unix.Umask(0o022)
	os.Setenv("GOMAXPROCS", "1") // for containers' first processes, which do little in Go
	if err := buildWorld(string(x.hello.Warehouse), x.hello.Hosts); err != nil {
		return nil, err
	}
	work := filepath.Join(warehouseDir, "work")
	x.dir = filepath.Join(work, runPrefix+x.hello.Run)
	if x.lock, err = enterRun(x.dir); err != nil {
		return nil, &setupError{"make the run's directory", err}
	}
	if err := canHoldOverlay(x.dir); err != nil {
		return nil, &setupError{"use the warehouse", err}
	}
	go sweep(work)
	x.packer = sync.OnceValues(func() (*packer, error) { return startPacker(x.enter, x.hello.Filter) })
	go x.packer() // while the first job is made and runs
	return x, nil
}

func (x *executor) handle(frame wire.Frame) error {
	switch frame.Kind {
	case wire.KindPrepare:
		var spec wire.Job
		if err := frame.Decode(&spec); err != nil {
			return err
		}
		var files []*os.File
		if spec.Files > 0 {
			var err error
			if files, err = wire.ReceiveFiles(x.files, spec.ID, spec.Files); err != nil {
				return err
			}
		}
		x.running.Go(func() { x.prepareJob(spec, files) })
	case wire.KindStart:
		var s wire.Start
		if err := frame.Decode(&s); err != nil {
			return err
		}
		x.mu.Lock()
		j := x.jobs[s.ID]
		if j != nil {
			j.started = true
		}
		x.mu.Unlock()
		if j == nil {
			return x.conn.Send(wire.KindFailed, wire.Failed{ID: s.ID, Stage: wire.StageStart, Err: "its container was given up"})
		}
		x.running.Go(func() {
			x.run(j, s)
			x.forget(j.ID)
		})
	case wire.KindUsage:
		var u wire.Usage
		if err := frame.Decode(&u); err != nil {
			return err
		}
		x.mu.Lock()
		j := x.jobs[u.ID]
		x.mu.Unlock()
		if j != nil {
			u.Bytes = j.memory()
		}
		return x.conn.Send(wire.KindUsage, u)
	case wire.KindEnd:
		var e wire.End
		if err := frame.Decode(&e); err != nil {
			return err
		}
		x.end(e)
	default:
		return fmt.Errorf("unexpected message %s", strconv.Itoa(int(frame.Kind)))
	}
	return nil
}

func (x *executor) prepareJob(spec wire.Job, files []*os.File) {
	j, err := x.prepare(spec, files)
	for _, f := range files { // the container has its own
		f.Close()
	}
	var fail *jobError
	if errors.As(err, &fail) {
		fail.ID = spec.ID
		x.conn.Send(wire.KindFailed, fail.Failed)
		return
	}
	x.mu.Lock()
	unwanted := x.givenUp[spec.ID]
	delete(x.givenUp, spec.ID)
	if !unwanted {
		x.jobs[spec.ID] = j
	}
	x.mu.Unlock()
	if unwanted {
		x.giveUp(j)
		return
	}
	x.conn.Send(wire.KindPrepared, wire.Prepared{ID: spec.ID})
}

func (x *executor) end(e wire.End) {
	x.mu.Lock()
	j := x.jobs[e.ID]
	if j == nil {
		x.givenUp[e.ID] = true
		x.mu.Unlock()
		return
	}
	if !j.started {
		delete(x.jobs, e.ID)
		x.mu.Unlock()
		x.running.Go(func() { x.giveUp(j) })
		return
	}
	x.mu.Unlock()
	j.end(e.Grace, false)
}

// giveUp takes down a job that was prepared and is not wanted.
func (x *executor) giveUp(j *job) {
	j.discard()
	x.conn.Send(wire.KindFailed, wire.Failed{ID: j.ID, Stage: wire.StagePrepare, Err: "given up"})
}

func (x *executor) forget(id int64) {
	x.mu.Lock()
	delete(x.jobs, id)
	x.mu.Unlock()
}

// close ends what is left and removes the run's directory.
func (x *executor) close() {
	x.mu.Lock()
	var left []*job
	for _, j := range x.jobs {
		left = append(left, j)
	}
	x.mu.Unlock()
	for _, j := range left {
		x.end(wire.End{ID: j.ID})
	}
	x.running.Wait()
	removeRun(x.dir)
}
