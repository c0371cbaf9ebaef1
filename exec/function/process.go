package function

import (
	"bufio"
	"context"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec/container/joblog"
)

// An engine makes containers for the commands of one executor: kiln's own, or of an image.
type engine interface {
	// launch makes a container and starts the command in it, which then waits for a
	// request.
	launch(ctx context.Context) (*process, error)
	// wait returns when nothing is left of launches that were cut short.
	wait()
}

// A confinement is the container that one process is in.
type confinement interface {
	kill()         // has every process in it end; it does not wait for that
	memory() int64 // how much they use, in bytes; 0 where that is not known
	release()      // lets go of what it held, after all have ended
}

// A process is one command in a container of its own.
type process struct {
	confinement
	stdin  *os.File // our ends of its pipes
	stdout *os.File
	reader *bufio.Reader
	calls  int           // it has answered
	ended  chan struct{} // closed when all its processes have

	mu   sync.Mutex
	exit exit  // how it ended
	oom  bool  // one of its processes got no more memory
	err  error // why it did not even start, or is gone
	tail joblog.Tail
	emit func([]byte)
}

// An exit is how a command ended: its code, or -1 and the signal that ended it.
type exit struct{ Code, Signal int }

// newProcess returns a process without a container, whose log lines go to logs.
func newProcess(logs func([]byte)) *process {
	if logs == nil {
		logs = func([]byte) {}
	}
	return &process{ended: make(chan struct{}), emit: logs}
}

// pipes makes its stdin and stdout, and returns the command's ends of them.
func (p *process) pipes() (stdin, stdout *os.File, err error) {
	stdin, p.stdin, err = os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	p.stdout, stdout, err = os.Pipe()
	if err != nil {
		stdin.Close()
		return nil, nil, err
	}
	p.reader = bufio.NewReaderSize(p.stdout, 64<<10)
	return stdin, stdout, nil
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

// over notes that all its processes have ended.
func (p *process) over(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone() {
		p.err = err
		close(p.ended)
	}
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
	p.release()
}
