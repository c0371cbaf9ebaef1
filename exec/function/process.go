package function

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/container/joblog"
	"github.com/kilnbuild/kiln/exec/container/wire"
)

// A process is one command in a container of its own.
type process struct {
	box    *Sandbox
	id     int64
	stdin  *os.File // our ends of its pipes
	stdout *os.File
	reader *bufio.Reader
	group  *container.Group
	calls  int // it has answered

	prepared chan struct{} // closed when its container waits for its command
	ended    chan struct{} // closed when all its processes have
	usage    chan int64

	mu   sync.Mutex
	exit wire.Exited // how it ended
	oom  bool        // one of its processes got no more memory
	err  error       // why it did not even start, or is gone
	tail joblog.Tail
	emit func([]byte)
}

// A launch is all that is needed to start a process.
type launch struct {
	job    wire.Job // without its id
	start  wire.Start
	limits container.Limits
	logs   func(line []byte)
}

// launch makes a container and starts its command, which then waits for a request.
func (s *Sandbox) launch(ctx context.Context, l *launch) (*process, error) {
	p := &process{box: s, prepared: make(chan struct{}), ended: make(chan struct{}), usage: make(chan int64, 1)}
	p.emit = func(line []byte) {
		if l.job.MaxData > 0 && !p.oom {
			p.oom = refusedMemory(line)
		}
		if l.logs != nil {
			l.logs(line)
		}
	}
	if err := p.begin(s, l); err != nil {
		p.close()
		return nil, err
	}
	select {
	case <-p.prepared:
	case <-p.ended:
		p.close()
		return nil, p.err
	case <-ctx.Done():
		p.kill()
		p.close()
		return nil, ctx.Err()
	}
	start := l.start
	start.ID = p.id
	if err := s.x.Start(start); err != nil {
		p.close()
		return nil, s.why(err)
	}
	return p, nil
}

// refusedMemory guesses from what a process logs, where no cgroup can tell, that it
// got no more memory: the words of C programs, of Go and of Node.
func refusedMemory(line []byte) bool {
	line = bytes.ToLower(line)
	return bytes.Contains(line, []byte("out of memory")) || bytes.Contains(line, []byte("cannot allocate memory"))
}

// begin asks for the container.
func (p *process) begin(s *Sandbox, l *launch) error {
	inside, stdin, err := os.Pipe()
	if err != nil {
		return err
	}
	defer inside.Close()
	p.stdin = stdin
	stdout, theirs, err := os.Pipe()
	if err != nil {
		return err
	}
	defer theirs.Close()
	p.stdout, p.reader = stdout, bufio.NewReaderSize(stdout, 64<<10)
	p.group, _ = container.NewGroup(l.limits) // what is left out was settled when the executor was made
	procs, err := p.group.Procs()
	if err != nil {
		p.group.Remove()
		return fmt.Errorf("limit the container: %w", err)
	}
	files := append([]*os.File{inside, theirs}, procs...)
	defer func() {
		for _, f := range procs {
			f.Close()
		}
	}()
	for _, f := range files[:2] { // the command's ends: it may not expect to be told to try again
		unix.SetNonblock(int(f.Fd()), false)
	}
	if err := s.enroll(p); err != nil {
		p.group.Remove()
		return err
	}
	job := l.job
	job.ID = p.id
	if err := s.x.PrepareWith(job, files); err != nil {
		s.forget(p)
		return s.why(err)
	}
	return nil
}

func (p *process) log(data []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tail.Write(data, p.emit)
}

// logs returns the last lines of its log.
func (p *process) logs() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tail.Lines()
}

// handle takes in what the executor says of it.
func (p *process) handle(frame wire.Frame) {
	switch frame.Kind {
	case wire.KindPrepared:
		close(p.prepared)
	case wire.KindUsage:
		var u wire.Usage
		frame.Decode(&u)
		select {
		case p.usage <- u.Bytes:
		default:
		}
	case wire.KindExited:
		var e wire.Exited
		frame.Decode(&e)
		p.mu.Lock()
		p.exit, p.oom = e, p.oom || p.group.OutOfMemory()
		p.tail.Flush(p.emit)
		p.mu.Unlock()
		p.over(nil)
	case wire.KindFailed:
		var f wire.Failed
		frame.Decode(&f)
		p.over(launchError(f))
	}
}

func launchError(f wire.Failed) error {
	if f.Port != "" {
		return fmt.Errorf("mount %s: %s", f.Port, f.Err)
	}
	return errors.New(f.Err)
}

// over notes that all its processes have ended.
func (p *process) over(err error) {
	select {
	case <-p.ended:
		return
	default:
	}
	p.mu.Lock()
	p.err = err
	p.mu.Unlock()
	close(p.ended)
}

// failure returns why it did not start, if it did not.
func (p *process) failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// gone reports whether it has ended.
func (p *process) gone() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// kill ends every process in the container.
func (p *process) kill() { p.box.x.End(p.id, 0) }

// alive reports whether it has neither ended nor written anything unasked.
func (p *process) alive() bool {
	if p.gone() {
		return false
	}
	pending := []unix.PollFd{{Fd: int32(p.fd()), Events: unix.POLLIN}}
	n, err := unix.Poll(pending, 0)
	return p.reader.Buffered() == 0 && err == nil && n == 0
}

func (p *process) fd() int {
	fd := -1
	if raw, err := p.stdout.SyscallConn(); err == nil {
		raw.Control(func(n uintptr) { fd = int(n) })
	}
	return fd
}

// memory asks how much memory it uses, in bytes; 0 where that is not known.
func (p *process) memory() int64 {
	if p.box.x.AskUsage(p.id) != nil {
		return 0
	}
	select {
	case n := <-p.usage:
		return n
	case <-p.ended:
	case <-time.After(time.Second):
	}
	return 0
}

// finish ends it if it has not ended, waits, and lets go of what it held.
func (p *process) finish() {
	if !p.gone() {
		p.kill()
		<-p.ended
	}
	p.close()
}

func (p *process) close() {
	for _, f := range []*os.File{p.stdin, p.stdout} {
		if f != nil {
			f.Close()
		}
	}
	if p.id != 0 {
		p.box.forget(p)
	}
}
