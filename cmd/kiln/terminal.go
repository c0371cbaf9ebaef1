package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/creack/pty"
	"golang.org/x/term"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/plan"
)

// runShell runs a command in a step's container with kiln's own stdin and stdout. It
// never hands those over: on a terminal the command gets one that is made for it, so
// that it cannot type into the person's; else it gets pipes.
func (a *app) runShell(ctx context.Context, r plan.Resolved, o exec.ShellOptions) (int, error) {
	if term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())) {
		return a.onTerminal(ctx, r, o)
	}
	inside, stdin, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	stdout, outside, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	go func() { // until kiln ends, if nothing comes
		io.Copy(stdin, os.Stdin)
		stdin.Close()
	}()
	o.Stdin, o.Stdout = inside, outside
	return a.relay(ctx, r, o, stdout)
}

// relay runs a command and passes on what it writes until nothing can write any more.
func (a *app) relay(ctx context.Context, r plan.Resolved, o exec.ShellOptions, output *os.File) (int, error) {
	var passed sync.WaitGroup
	passed.Go(func() {
		defer output.Close() // the command is to notice when nobody reads
		io.Copy(a.stdout, output)
	})
	code, err := exec.Shell(ctx, r, o)
	passed.Wait()
	return code, err
}

// onTerminal runs a command on a terminal of its own and shows it on the person's,
// which passes every key on meanwhile. However kiln ends, but by SIGKILL, the person's
// terminal is as it was before.
func (a *app) onTerminal(ctx context.Context, r plan.Resolved, o exec.ShellOptions) (int, error) {
	ours, theirs, err := pty.Open()
	if err != nil {
		return 0, fmt.Errorf("open a terminal for the shell: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	before, err := term.MakeRaw(int(os.Stdin.Fd()))
	if err != nil {
		ours.Close()
		theirs.Close()
		return 0, fmt.Errorf("pass every key on: %w", err)
	}
	restore := sync.OnceFunc(func() { term.Restore(int(os.Stdin.Fd()), before) })
	defer restore()
	ends := make(chan os.Signal, 1)
	signal.Notify(ends, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM)
	go func() {
		select {
		case <-ends:
			restore()
			signal.Stop(ends) // the next one ends kiln at once
			cancel()
		case <-ctx.Done():
		}
	}()
	defer signal.Stop(ends)
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	defer signal.Stop(resized)
	pty.InheritSize(os.Stdin, ours)
	go func() {
		for {
			select {
			case <-resized:
				pty.InheritSize(os.Stdin, ours)
			case <-ctx.Done():
				return
			}
		}
	}()
	go io.Copy(ours, os.Stdin)
	o.Stdin, o.Stdout, o.Terminal, o.TerminalName = theirs, theirs, true, os.Getenv("TERM")
	return a.relay(ctx, r, o, ours)
}
