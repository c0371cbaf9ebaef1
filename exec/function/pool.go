package function

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// A pool makes the processes of one executor and gives each call one of its own.
type pool struct {
	*settings
	engine engine
	slots  chan struct{} // one for each call that may run
	limit  int64         // of memory, for errors
	ctx    context.Context
	cancel context.CancelCauseFunc
	under  sync.WaitGroup // calls and launches under way

	mu     sync.Mutex
	idle   []*process // started and waiting for a request, oldest first
	making int        // on their way to idle
	closed bool
}

func newPool(o *settings, e engine) *pool {
	p := &pool{settings: o, engine: e, slots: make(chan struct{}, o.workers), limit: o.limits.Memory}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	p.fill()
	return p
}

var errPoolClosed = errors.New("the executor was closed")

// enter counts something that close waits for.
func (p *pool) enter() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed {
		p.under.Add(1)
	}
	return !p.closed
}

// fill has as many processes started as are to be warm.
func (p *pool) fill() {
	p.mu.Lock()
	n := p.warm - len(p.idle) - p.making
	if p.closed || n <= 0 {
		p.mu.Unlock()
		return
	}
	p.making += n
	p.under.Add(n)
	p.mu.Unlock()
	for range n {
		go func() {
			defer p.under.Done()
			made, err := p.engine.launch(p.ctx)
			p.mu.Lock()
			p.making--
			if err == nil && !p.closed {
				p.idle = append(p.idle, made)
				made = nil
			}
			p.mu.Unlock()
			if made != nil {
				made.finish()
			}
		}()
	}
}

// take returns a process that waits for a request: one that is idle and well, or a
// new one.
func (p *pool) take(ctx context.Context) (*process, error) {
	for {
		p.mu.Lock()
		if len(p.idle) == 0 {
			p.mu.Unlock()
			return p.engine.launch(ctx)
		}
		first := p.idle[0]
		p.idle = p.idle[1:]
		p.mu.Unlock()
		if first.alive() {
			return first, nil
		}
		first.finish()
	}
}

// keep takes back a process that may answer another request.
func (p *pool) keep(one *process) {
	if one.calls < p.reuse && !(p.recycle > 0 && one.memory() >= p.recycle) {
		p.mu.Lock()
		if !p.closed {
			p.idle = append([]*process{one}, p.idle...) // the one whose memory is warm
			one = nil
		}
		p.mu.Unlock()
	}
	if one != nil {
		one.finish()
		p.fill()
	}
}

// close ends everything and waits for it.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	p.cancel(errPoolClosed)
	for _, one := range idle {
		one.finish()
	}
	p.under.Wait()
	p.engine.wait()
}

// call sends one request and returns the output in its response.
func (p *pool) call(ctx context.Context, line []byte) (json.RawMessage, error) {
	if !p.enter() {
		return nil, errPoolClosed
	}
	defer p.under.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(p.ctx, func() { cancel(errPoolClosed) })()
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return nil, &CancelledError{Cause: context.Cause(ctx)}
	}
	timer := time.AfterFunc(p.timeout, func() { cancel(&TimeoutError{Limit: p.timeout}) })
	defer timer.Stop()
	for {
		one, err := p.take(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil, stopped(ctx, nil)
			}
			return nil, fmt.Errorf("start the function: %w", err)
		}
		output, err := p.exchange(ctx, one, line)
		if err == nil || !one.left(err) {
			return output, err
		}
	}
}

// left reports whether err is that a process had left of its own accord after an
// earlier call. That was seen too late; nobody has looked at the request.
func (one *process) left(err error) bool {
	return one.calls > 0 && errors.Is(err, ErrProtocol) && one.gone() && one.exit.Code == 0
}

// stopped says why a context that was cut short was.
func stopped(ctx context.Context, logs []string) error {
	var late *TimeoutError
	if errors.As(context.Cause(ctx), &late) {
		return &TimeoutError{Limit: late.Limit, Logs: logs}
	}
	return &CancelledError{Cause: context.Cause(ctx)}
}

// exchange has a process answer a request, and lets go of the process.
func (p *pool) exchange(ctx context.Context, one *process, line []byte) (json.RawMessage, error) {
	unwatch := context.AfterFunc(ctx, one.kill)
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		one.stdin.Write(line) // an error is that it has ended, which is seen below
		if p.reuse == 0 {
			one.stdin.Close()
		}
	}()
	text, whole, err := p.read(one)
	if !whole || !unwatch() {
		p.end(ctx, one)
		<-sent
		unwatch()
		return p.judge(ctx, one, text, err)
	}
	<-sent
	one.calls++
	r, bad := parse(text)
	if bad != nil {
		one.finish()
		p.fill()
		bad.Logs = one.logs()
		return nil, bad
	}
	p.keep(one)
	return p.result(r, one)
}

// read reads a response: a line where the process goes on, else all there is. It is
// whole when the process may go on.
func (p *pool) read(one *process) (text []byte, whole bool, err *ProtocolError) {
	var buf bytes.Buffer
	for {
		part, readErr := one.reader.ReadSlice('\n')
		buf.Write(part)
		switch {
		case int64(buf.Len()) > p.maxOutput:
			one.kill()
			return nil, false, protocolError(fmt.Sprintf("it wrote more than %d bytes on stdout", p.maxOutput), buf.Bytes())
		case errors.Is(readErr, io.EOF):
			return buf.Bytes(), false, nil
		case readErr != nil && !errors.Is(readErr, bufio.ErrBufferFull):
			return buf.Bytes(), false, nil
		case readErr == nil && p.reuse > 0 && len(bytes.TrimSpace(buf.Bytes())) > 0:
			return buf.Bytes(), true, nil
		}
	}
}

// end waits until a process has ended: by itself where it has only closed its stdout,
// else made to.
func (p *pool) end(ctx context.Context, one *process) {
	select {
	case <-one.ended:
	case <-ctx.Done():
	}
	one.finish()
}

// judge says what a process that has ended meant.
func (p *pool) judge(ctx context.Context, one *process, text []byte, bad *ProtocolError) (json.RawMessage, error) {
	p.fill() // now that the call needs no time any more
	logs := one.logs()
	switch {
	case ctx.Err() != nil:
		return nil, stopped(ctx, logs)
	case one.failure() != nil:
		return nil, fmt.Errorf("start the function: %w", one.failure())
	}
	var r *response
	if bad == nil {
		r, bad = parse(text)
	}
	if bad == nil && *r.OK && one.exit.Code != 0 {
		bad = protocolError("it did not end well after its response", nil)
	}
	if one.oom && (bad != nil || !*r.OK) {
		return nil, &MemoryError{Limit: p.limit, Logs: logs}
	}
	if bad != nil {
		bad.ExitCode, bad.Signal, bad.Logs = one.exit.Code, one.exit.Signal, logs
		return nil, bad
	}
	return p.result(r, one)
}

func (p *pool) result(r *response, one *process) (json.RawMessage, error) {
	if !*r.OK {
		return nil, reported(r.Error, p.limit, one.logs())
	}
	return r.Output, nil
}
