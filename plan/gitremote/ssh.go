package gitremote

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	osexec "os/exec"
	"strings"
	"time"

	"github.com/kilnbuild/kiln/internal/retry"
)

// A sshRemote speaks git's protocol through the ssh program, as git does: a person's
// keys, agent, known hosts and jumps are ssh's business. It is run so that it asks
// nobody anything.
type sshRemote struct {
	u     *url.URL
	o     *Options
	cmd   *osexec.Cmd
	in    io.WriteCloser
	out   io.ReadCloser
	says  bytes.Buffer // what ssh and the server write beside the protocol
	ended bool
}

// parseSSH reads the short form of a url of ssh, [USER@]HOST:PATH.
func parseSSH(text string) (*url.URL, bool) {
	host, path, ok := strings.Cut(text, ":")
	if !ok || strings.Contains(host, "/") || strings.HasPrefix(path, "//") || strings.HasPrefix(path, ":") {
		return nil, false
	}
	u := &url.URL{Scheme: "ssh", Host: host, Path: path}
	if user, rest, ok := strings.Cut(host, "@"); ok {
		u.User, u.Host = url.User(user), rest
	}
	return u, u.Host != "" && path != ""
}

func (s *sshRemote) hello(ctx context.Context) (io.Reader, error) {
	host, path := s.u.Hostname(), s.u.Path
	if name := s.u.User.Username(); name != "" {
		host = name + "@" + host
	}
	if strings.HasPrefix(path, "/~") {
		path = path[1:] // a home directory of the server
	}
	// What ssh or the server's shell could take for something else.
	if strings.HasPrefix(host, "-") || strings.HasPrefix(path, "-") || strings.ContainsAny(host+path, "\x00\n") {
		return nil, errors.New("the URL names no host and path that ssh could take")
	}
	args := []string{"-o", "BatchMode=yes", "-o", "SendEnv=GIT_PROTOCOL", "-T"}
	if port := s.u.Port(); port != "" {
		args = append(args, "-p", port)
	}
	args = append(args, "--", host, service+" '"+strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(path)+"'")
	s.cmd = osexec.CommandContext(ctx, "ssh", args...)
	s.cmd.Env = append(os.Environ(), "GIT_PROTOCOL=version=2")
	s.cmd.Stderr = &limited{w: &s.says, left: 4 << 10}
	s.cmd.WaitDelay = time.Second // for what ssh itself has started
	var err error
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if s.out, err = s.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("fetching through ssh needs the ssh program: %w", err)
	}
	return s, nil
}

func (s *sshRemote) send(_ context.Context, request []byte) (io.Reader, error) {
	if _, err := s.in.Write(request); err != nil {
		return nil, s.why(err)
	}
	return s, nil
}

// Read reads from the server; a connection on which nothing comes for too long is dead.
func (s *sshRemote) Read(b []byte) (int, error) {
	stall := time.AfterFunc(s.o.Stall, func() { s.cmd.Process.Kill() })
	n, err := s.out.Read(b)
	if !stall.Stop() {
		return n, &TemporaryError{Err: retry.Silent(fmt.Errorf("nothing came for %s", s.o.Stall))}
	}
	if err != nil && n == 0 {
		err = s.why(err)
	}
	return n, err
}

// why adds to the end of a connection what was said before.
func (s *sshRemote) why(err error) error {
	if !s.ended {
		s.ended = true
		s.in.Close()
		_ = s.cmd.Wait() // its messages are complete then
	}
	if text := clean(s.says.Bytes()); text != "" {
		return fmt.Errorf("ssh says: %s", text)
	}
	return err
}

func (s *sshRemote) close() {
	if s.cmd == nil || s.cmd.Process == nil || s.ended {
		return
	}
	s.ended = true
	s.in.Close()
	s.out.Close()
	s.cmd.Process.Kill()
	_ = s.cmd.Wait()
}

// A limited writer keeps the beginning of what is written and takes all of it.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	n := min(len(b), l.left)
	l.left -= n
	if _, err := l.w.Write(b[:n]); err != nil {
		return 0, err
	}
	return len(b), nil
}
