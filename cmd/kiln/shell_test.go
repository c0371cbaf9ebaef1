package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

const shellFormula = `
ware "root" { path = "root" }
step "use" {
  inputs = { "/" = ware.root }
  script = ["exit 1"]
}
`

// A typist is a person at a terminal in which kiln runs.
type typist struct {
	*faultsDir
	ours, theirs *os.File
	before       unix.Termios
	cmd          *osexec.Cmd
	seen         strings.Builder // not yet looked at
	all          strings.Builder
}

// sit starts kiln shell on a terminal, in a root with busybox, whose shell has job
// control and says so where it cannot.
func sit(t *testing.T, args ...string) *typist {
	t.Helper()
	f := newFaultsDir(t)
	path, err := osexec.LookPath("busybox")
	if err != nil {
		t.Skip(err)
	}
	binary, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer binary.Close()
	if binary.Section(".interp") != nil {
		t.Skipf("%s is not static", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f.write("root/bin/busybox", string(text))
	f.write("kiln.hcl", shellFormula)
	if err := errors.Join(os.Chmod(f.dir+"/root/bin/busybox", 0o755), os.Symlink("busybox", f.dir+"/root/bin/sh")); err != nil {
		t.Fatal(err)
	}
	p := &typist{faultsDir: f}
	if p.ours, p.theirs, err = pty.Open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.ours.Close(); p.theirs.Close() })
	p.before = p.settings()
	p.resize(33, 77)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	p.cmd = osexec.CommandContext(ctx, "kiln", append([]string{"shell"}, args...)...)
	p.cmd.Dir, p.cmd.Env = f.dir, append(f.env(), "TERM=vt52")
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = p.theirs, p.theirs, p.theirs
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	context.AfterFunc(ctx, func() { p.theirs.WriteString("out of time") })
	return p
}

func (p *typist) settings() unix.Termios {
	p.Helper()
	s, err := unix.IoctlGetTermios(int(p.theirs.Fd()), unix.TCGETS)
	if err != nil {
		p.Fatal(err)
	}
	return *s
}

func (p *typist) resize(rows, cols uint16) {
	p.Helper()
	if err := pty.Setsize(p.ours, &pty.Winsize{Rows: rows, Cols: cols}); err != nil {
		p.Fatal(err)
	}
}

// types presses keys and reads until the terminal shows want, which must not be in keys.
func (p *typist) types(keys, want string) {
	p.Helper()
	if _, err := p.ours.WriteString(keys); err != nil {
		p.Fatal(err)
	}
	buf := make([]byte, 4096)
	for !strings.Contains(p.seen.String(), want) {
		n, err := p.ours.Read(buf)
		p.seen.Write(buf[:n])
		p.all.Write(buf[:n])
		if err != nil || strings.Contains(p.seen.String(), "out of time") {
			p.Fatalf("after %q no %q but %q (%v)", keys, want, p.seen.String(), err)
		}
	}
	_, rest, _ := strings.Cut(p.seen.String(), want)
	p.seen.Reset()
	p.seen.WriteString(rest)
}

// leaves waits for kiln's end: the terminal has to be as it was.
func (p *typist) leaves(code int) {
	p.Helper()
	p.cmd.Wait()
	if got := p.cmd.ProcessState.ExitCode(); got != code {
		p.Errorf("kiln ended with %s, want exit code %d\n%s", p.cmd.ProcessState, code, p.all.String())
	}
	if after := p.settings(); after != p.before {
		p.Errorf("the terminal is left with %+v, was %+v", after, p.before)
	}
	p.clean()
}

func TestShellOnTerminal(t *testing.T) {
	p := sit(t, "use")
	p.types("", "its script is /.kiln/entry-1")
	p.types("[ -t 0 ] && [ -t 2 ] && echo a te''rminal\n", "a terminal")
	if p.settings() == p.before {
		t.Error("keys do not go through as they are")
	}
	p.types("echo size $(busybox stty size)\n", "size 33 77")
	p.types("echo TERM is $TERM\n", "TERM is vt52")
	p.types("echo to /dev''/tty >/dev/tty\n", "to /dev/tty")
	p.types("echo to std''err >&2\n", "to stderr")
	p.types("cat /.kiln/ent''ry-1\n", "exit 1")

	// It is a terminal of its own.
	var theirs unix.Stat_t
	if err := unix.Fstat(int(p.theirs.Fd()), &theirs); err != nil {
		t.Fatal(err)
	}
	p.types("echo device $(busybox stat -Lc %t:%T /proc/self/fd/0).\n", "device ")
	p.types("", ".\r\n")
	own := fmt.Sprintf("device %x:%x.", unix.Major(theirs.Rdev), unix.Minor(theirs.Rdev))
	if strings.Contains(p.all.String(), own) {
		t.Errorf("the shell has the person's terminal, %s", own)
	}

	// Jobs: Ctrl-Z, Ctrl-C, and only what is in the foreground gets them.
	p.types("sh -c 'echo st''arted; exec busybox sleep 1000'\n", "started")
	p.types("\x1a", "Stopped")
	p.types("kill %1; fg; echo f''g $?\n", "fg 143")
	p.types("sh -c 'echo ag''ain; exec busybox sleep 1000'\n", "again")
	p.types("\x03", "\n")
	p.types("echo ctr''l-c $?\n", "ctrl-c 130")
	if strings.Contains(p.all.String(), "job control") {
		t.Errorf("the shell complains: %s", p.all.String())
	}

	p.resize(44, 99)
	p.types("until [ \"$(busybox stty size)\" = '44 99' ]; do :; done; echo re''sized\n", "resized")
	p.types("exit 5\n", "exit 5")
	p.leaves(5)
}

// TestShellEnded ends kiln from outside while its shell runs.
func TestShellEnded(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP} {
		p := sit(t, "use", "--", "sh", "-c", "trap '' TERM HUP; echo ready; while :; do busybox sleep 1000; done")
		p.types("", "ready")
		p.cmd.Process.Signal(signal)
		p.leaves(130)
	}
}
