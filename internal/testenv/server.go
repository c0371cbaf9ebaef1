package testenv

import (
	"bytes"
	"fmt"
	"net/http"
	osexec "os/exec"
	"syscall"
	"testing"
	"time"
)

// A Server is a program that tests talk to by HTTP, and may kill.
type Server struct {
	Addr    string // HOST:PORT on this machine
	port    *Port  // which stays taken until this process ends, for Restart
	path    string
	command func(addr string) *osexec.Cmd

	pid   int
	out   *bytes.Buffer
	ended chan struct{} // closed when the program has ended
}

// Serve starts the program that command makes to listen at an address, and returns when
// it answers requests for path. The caller calls Kill.
func Serve(path string, command func(addr string) *osexec.Cmd) (*Server, error) {
	port, err := TakePort()
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: port.Addr(), port: port, path: path, command: command}
	if err := s.start(); err != nil {
		port.Release()
		return nil, err
	}
	return s, nil
}

// URL returns that of all that the program serves.
func (s *Server) URL() string { return "http://" + s.Addr + "/" }

func (s *Server) start() error {
	cmd := s.command(s.Addr)
	s.out, s.ended = new(bytes.Buffer), make(chan struct{})
	cmd.Stdout, cmd.Stderr = s.out, s.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.pid = cmd.Process.Pid
	go func(ended chan struct{}) { _ = cmd.Wait(); close(ended) }(s.ended)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 30_000 { // that is long for a machine that is very busy, and short for who waits
		select {
		case <-s.ended:
			return fmt.Errorf("%s ended: %s", cmd.Path, s.out)
		case <-tick.C:
		}
		if resp, err := http.Get("http://" + s.Addr + s.path); err == nil {
			resp.Body.Close()
			return nil
		}
	}
	s.Kill()
	return fmt.Errorf("%s does not answer at %s", cmd.Path, s.Addr)
}

// Kill ends the program, and what it has started, as if the machine had lost its power.
func (s *Server) Kill() {
	_ = syscall.Kill(-s.pid, syscall.SIGKILL) // it may have ended by itself
	<-s.ended
}

// Restart starts a program that was killed again, at the same address.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}
