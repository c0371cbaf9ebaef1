package function

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/container/wire"
)

// A launch is all that is needed to start a process in a sandbox.
type launch struct {
	job    wire.Job // without its id
	start  wire.Start
	limits container.Limits
	logs   func(line []byte)
}

// A boxed process is in a container of a sandbox.
type boxed struct {
	*process
	box      *Sandbox
	id       int64
	group    *container.Group
	prepared chan struct{} // closed when its container waits for its command
	usage    chan int64
}

// An own engine makes containers of kiln's own.
type own struct {
	box *Sandbox
	job *launch
}

func (o *own) launch(ctx context.Context) (*process, error) { return o.box.launch(ctx, o.job) }
func (o *own) wait()                                        {}

// launch makes a container and starts its command, which then waits for a request.
func (s *Sandbox) launch(ctx context.Context, l *launch) (*process, error) {
	p := newProcess(l.logs)
	b := &boxed{process: p, box: s, prepared: make(chan struct{}), usage: make(chan int64, 1)}
	p.confinement = b
	if log := p.emit; l.job.MaxData > 0 {
		p.emit = func(line []byte) {
			p.oom = p.oom || refusedMemory(line)
			log(line)
		}
	}
	if err := b.begin(l); err != nil {
		p.close()
		return nil, err
	}
	select {
	case <-b.prepared:
	case <-p.ended:
		p.close()
		return nil, p.err
	case <-ctx.Done():
		b.kill()
		p.close()
		return nil, ctx.Err()
	}
	start := l.start
	start.ID = b.id
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
func (b *boxed) begin(l *launch) error {
	stdin, stdout, err := b.pipes()
	if err != nil {
		return err
	}
	defer stdin.Close()
	defer stdout.Close()
	for _, f := range []*os.File{stdin, stdout} { // the command may not expect to be told to try again
		unix.SetNonblock(int(f.Fd()), false)
	}
	b.group, _ = container.NewGroup(l.limits) // what is left out was settled when the executor was made
	procs, err := b.group.Procs()
	if err != nil {
		b.group.Remove()
		return fmt.Errorf("limit the container: %w", err)
	}
	files := append([]*os.File{stdin, stdout}, procs...)
	defer func() {
		for _, f := range procs {
			f.Close()
		}
	}()
	if err := b.box.enroll(b); err != nil {
		b.group.Remove()
		return err
	}
	job := l.job
	job.ID = b.id
	if err := b.box.x.PrepareWith(job, files); err != nil {
		b.box.forget(b)
		return b.box.why(err)
	}
	return nil
}

// handle takes in what the executor says of it.
func (b *boxed) handle(frame wire.Frame) {
	switch frame.Kind {
	case wire.KindPrepared:
		close(b.prepared)
	case wire.KindUsage:
		var u wire.Usage
		frame.Decode(&u)
		select {
		case b.usage <- u.Bytes:
		default:
		}
	case wire.KindExited:
		var e wire.Exited
		frame.Decode(&e)
		b.mu.Lock()
		b.exit, b.oom = exit{e.Code, e.Signal}, b.oom || b.group.OutOfMemory()
		b.tail.Flush(b.emit)
		b.mu.Unlock()
		b.over(nil)
	case wire.KindFailed:
		var f wire.Failed
		frame.Decode(&f)
		b.over(launchError(f))
	}
}

func launchError(f wire.Failed) error {
	if f.Port != "" {
		return fmt.Errorf("mount %s: %s", f.Port, f.Err)
	}
	return errors.New(f.Err)
}

func (b *boxed) kill() { b.box.x.End(b.id, 0) }

// memory asks how much memory it uses.
func (b *boxed) memory() int64 {
	if b.box.x.AskUsage(b.id) != nil {
		return 0
	}
	select {
	case n := <-b.usage:
		return n
	case <-b.ended:
	case <-time.After(patience): // an executor that hangs
	}
	return 0
}

func (b *boxed) release() {
	if b.id != 0 {
		b.box.forget(b)
	}
}
