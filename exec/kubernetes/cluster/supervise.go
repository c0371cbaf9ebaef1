package main

import (
	"context"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// A supervisor keeps the components of a cluster running: one that ends is started again,
// as a test that kills one wants it.
type supervisor struct {
	dir  string // where log/ is
	ctx  context.Context
	stop context.CancelFunc
	all  sync.WaitGroup
}

func newSupervisor(dir string) *supervisor {
	ctx, stop := context.WithCancel(context.Background())
	return &supervisor{dir: dir, ctx: ctx, stop: stop}
}

// start starts a component and keeps it running. Its log is log/NAME.log, its process
// id is in log/NAME.pid.
func (s *supervisor) start(name, program string, args ...string) error {
	log, err := os.OpenFile(filepath.Join(s.dir, "log", name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	cmd, err := s.once(log, name, program, args)
	if err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	s.all.Go(func() {
		defer log.Close()
		for err == nil {
			ended := cmd.Wait()
			if s.ctx.Err() != nil {
				return
			}
			fmt.Fprintf(log, "cluster: %s has ended (%v) and is started again\n", name, ended)
			sleep(s.ctx, 200*time.Millisecond)
			cmd, err = s.once(log, name, program, args)
		}
		fmt.Fprintf(log, "cluster: start %s again: %v\n", name, err)
	})
	return nil
}

func (s *supervisor) once(log *os.File, name, program string, args []string) (*osexec.Cmd, error) {
	cmd := osexec.CommandContext(s.ctx, program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	pid := filepath.Join(s.dir, "log", name+".pid")
	return cmd, os.WriteFile(pid, fmt.Appendln(nil, cmd.Process.Pid), 0o644)
}

// close ends all components.
func (s *supervisor) close() {
	s.stop()
	s.all.Wait()
}

// patience is how long a component may take to become ready on a slow machine.
const patience = 3 * time.Minute

// until waits until ready returns nil, and returns its last error if that takes too long.
func until(what string, ready func() error) error {
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	for {
		err := ready()
		if err == nil {
			return nil
		}
		if sleep(ctx, 100*time.Millisecond); ctx.Err() != nil {
			return fmt.Errorf("wait %v for %s: %w", patience, what, err)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
