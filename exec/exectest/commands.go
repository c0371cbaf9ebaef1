package exectest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kilnbuild/kiln/exec"
	"github.com/kilnbuild/kiln/exec/capture"
)

func isUnsupported(err error) bool { return errors.Is(err, exec.ErrUnsupported) }

func exitCodes(s *suite) {
	for _, code := range []int{0, 1, 7, 125, 255} {
		run := s.do(s.spec(fmt.Sprintf("exit %d", code)))
		if code == 0 {
			s.ended(run, exec.RunSucceeded, "")
		} else {
			s.ended(run, exec.RunFailed, exec.ReasonExit)
		}
		if run.ExitCode == nil || *run.ExitCode != code || run.ExitStatus() != code {
			s.Errorf("exit %d: %v, status %d", code, run.ExitCode, run.ExitStatus())
		}
	}
}

func signalled(s *suite) {
	// As pid 1 a shell would not be ended by a signal of its own.
	run := s.do(s.spec("sh -c 'kill -9 $$'; exit $?"))
	if run.ExitStatus() != 137 {
		s.Errorf("a shell's child was killed: %+v", run)
	}
	if !s.Can.Signals {
		return
	}
	run = s.do(s.spec("kill -9 $$; while :; do sleep 1; done"))
	s.ended(run, exec.RunFailed, exec.ReasonSignal)
	if run.Signal != 9 || run.ExitCode != nil {
		s.Errorf("signal %d, exit code %v", run.Signal, run.ExitCode)
	}
}

func outputInOrder(s *suite) {
	run := s.do(s.spec("for i in 1 2 3; do echo out $i; echo err $i >&2; done; printf 'no newline'"))
	s.ended(run, exec.RunSucceeded, "")
	stdout, stderr := s.logs(run.ID)
	const out, errs = "out 1\nout 2\nout 3\nno newline", "err 1\nerr 2\nerr 3\n"
	if s.Can.Split && (stdout != out || stderr != errs) {
		s.Errorf("stdout %q, stderr %q", stdout, stderr)
	}
	if !s.Can.Split {
		if len(stdout) != len(out)+len(errs) || !inOrder(stdout, "out 1", "err 1", "out 2", "err 2", "out 3", "err 3", "no newline") {
			s.Errorf("stdout %q, stderr %q", stdout, stderr)
		}
	}
}

func inOrder(text string, parts ...string) bool {
	for _, p := range parts {
		_, rest, ok := strings.Cut(text, p)
		if !ok {
			return false
		}
		text = rest
	}
	return true
}

// logReopened requires that a command which opens its output anew, as shells do for
// /dev/stdout, adds to it.
func logReopened(s *suite) {
	run := s.do(s.spec("echo a; echo b >/dev/stdout; echo c >>/dev/stdout; echo d; echo e >/dev/stderr"))
	s.ended(run, exec.RunSucceeded, "")
	if stdout, stderr := s.logs(run.ID); s.Can.Split && (stdout != "a\nb\nc\nd\n" || stderr != "e\n") || !inOrder(stdout+stderr, "a\n", "b\n", "c\n", "d\n", "e\n") {
		s.Errorf("stdout %q, stderr %q", stdout, stderr)
	}
}

// environment requires that a command has the variables it was given and no other: but
// for those that a shell sets for itself.
func environment(s *suite) {
	j := s.spec(`env; printf '%s' "$ODD"`)
	j.Env = append(j.Env, "A=1", "EMPTY=", "ODD=a \"b\" 'c' $d\n\\e=ü")
	run := s.do(j)
	s.ended(run, exec.RunSucceeded, "")
	stdout, _ := s.logs(run.ID)
	var names []string
	for line := range strings.Lines(stdout) {
		if name, _, ok := strings.Cut(line, "="); ok && !strings.ContainsAny(name, `\ "`) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	allowed := []string{"A", "EMPTY", "ODD", "PATH", "PWD", "OLDPWD", "SHLVL", "_", "HOSTNAME"}
	for _, name := range names {
		if !slices.Contains(allowed, name) && !slices.ContainsFunc(j.Env, func(v string) bool { return strings.HasPrefix(v, name+"=") }) {
			s.Errorf("the command has a variable that nobody gave it: %s", name)
		}
	}
	if !strings.HasSuffix(stdout, "a \"b\" 'c' $d\n\\e=ü") || !strings.Contains(stdout, "A=1\n") || !strings.Contains(stdout, "EMPTY=\n") {
		s.Errorf("%q", stdout)
	}
}

func hugeEnvironment(s *suite) {
	j := s.spec(`echo ${#V0} ${#V15}`)
	for i := range 16 {
		j.Env = append(j.Env, fmt.Sprintf("V%d=%s", i, strings.Repeat("x", 16<<10)))
	}
	run := s.do(j)
	s.ended(run, exec.RunSucceeded, "")
	if stdout, _ := s.logs(run.ID); stdout != "16384 16384\n" {
		s.Errorf("%q", stdout)
	}
	// One variable longer than the kernel takes in one.
	j = s.spec("true")
	j.Env = append(j.Env, "V="+strings.Repeat("x", 200<<10))
	run, err := s.r.Submit(s.Context(), j)
	if err == nil {
		run = s.wait(run.ID)
		s.ended(run, exec.RunFailed, exec.ReasonSetup)
		err = errors.New(run.Message)
	}
	if !strings.Contains(err.Error(), "environment") && !strings.Contains(err.Error(), "too long") {
		s.Errorf("the reason does not teach: %v", err)
	}
}

func directory(s *suite) {
	run := s.do(s.spec("pwd"))
	if stdout, _ := s.logs(run.ID); stdout != "/\n" {
		s.Errorf("without a directory: %q", stdout)
	}
	run = s.do(s.spec("pwd", func(j *exec.JobSpec) { j.Dir = "/tmp" }))
	if stdout, _ := s.logs(run.ID); stdout != "/tmp\n" {
		s.Errorf("in /tmp: %q", stdout)
	}
	run = s.do(s.spec("pwd", func(j *exec.JobSpec) { j.Dir = "/not/there" }))
	s.ended(run, exec.RunFailed, exec.ReasonSetup)
	if !strings.Contains(run.Message, "/not/there") {
		s.Errorf("the message does not name it: %s", run.Message)
	}
}

func stdinEmpty(s *suite) {
	run := s.do(s.spec("cat; echo end"))
	s.ended(run, exec.RunSucceeded, "")
	if stdout, _ := s.logs(run.ID); stdout != "end\n" {
		s.Errorf("%q", stdout)
	}
}

func bigLine(s *suite) {
	const size = 10 << 20
	run := s.do(s.spec(fmt.Sprintf("head -c %d /dev/zero | tr '\\0' x", size)))
	s.ended(run, exec.RunSucceeded, "")
	var out bytes.Buffer
	if err := s.r.Logs(s.Context(), run.ID, true, &out, nil); err != nil {
		s.Fatal(err)
	}
	if out.Len() != size || bytes.Count(out.Bytes(), []byte("x")) != size {
		s.Errorf("%d bytes of %d came", out.Len(), size)
	}
}

// overLogLimit requires that of a log which would be larger than it may be the beginning
// and the end are kept, the command is not held up, and the record says what is missing.
func overLogLimit(s *suite) {
	const limit = 16 << 10
	run := s.do(s.spec("seq 300000; echo done >&2", func(j *exec.JobSpec) { j.LogLimit = limit }))
	s.ended(run, exec.RunSucceeded, "")
	stdout, stderr := s.logs(run.ID)
	if log := stdout + stderr; !strings.HasPrefix(log, "1\n2\n3\n") || !inOrder(log, "kiln: the limit of a log", "kiln: ", "\n299999\n300000\n", "done\n") {
		s.Errorf("%.50q and so on to %q", log, log[max(0, len(log)-50):])
	}
	if kept := len(stdout); kept > limit+capture.Tail+1000 || run.Unlogged == 0 || int(run.Unlogged)+kept < 1988895 { // what seq writes
		s.Errorf("%d bytes are kept, %d are not", kept, run.Unlogged)
	}
	whole := s.do(s.spec("seq 3", func(j *exec.JobSpec) { j.LogLimit = limit }))
	if stdout, _ := s.logs(whole.ID); stdout != "1\n2\n3\n" || whole.Unlogged != 0 {
		s.Errorf("within its limit: %q, without %d bytes", stdout, whole.Unlogged)
	}
}

func followed(s *suite) {
	run := s.submit(s.spec("echo first; until [ -e /tmp/never ]; do sleep 0.05; n=x$n; [ ${#n} = 10 ] && break; done; echo last"))
	var out bytes.Buffer
	if err := s.r.Logs(s.Context(), run.ID, true, &out, &out); err != nil {
		s.Fatal(err)
	}
	if got := s.wait(run.ID); !got.Status.Ended() || out.String() != "first\nlast\n" {
		s.Errorf("%s %q", got.Status, out.String())
	}
}

func script(s *suite) {
	entries := func(e ...string) func(*exec.JobSpec) {
		return func(j *exec.JobSpec) { j.Command, j.Script = []string{"/bin/sh"}, e }
	}
	run := s.do(s.spec("", entries("X=1", "cd /tmp; echo one", `echo "$X $PWD"`)))
	s.ended(run, exec.RunSucceeded, "")
	if stdout, _ := s.logs(run.ID); stdout != "one\n1 /tmp\n" || run.Entry != nil {
		s.Errorf("%q, entry %v", stdout, run.Entry)
	}
	run = s.do(s.spec("", entries("echo a", "false", "echo b")))
	s.ended(run, exec.RunFailed, exec.ReasonExit)
	if stdout, _ := s.logs(run.ID); stdout != "a\n" || run.Entry == nil || *run.Entry != 1 {
		s.Errorf("%q, entry %v", stdout, run.Entry)
	}
	run = s.do(s.spec("", entries("echo a", "false", "echo b"), func(j *exec.JobSpec) { j.Continue = true }))
	s.ended(run, exec.RunSucceeded, "")
	if stdout, _ := s.logs(run.ID); stdout != "a\nb\n" {
		s.Errorf("%q", stdout)
	}
}

func notFound(s *suite) {
	for _, name := range []string{"kiln-no-such-command", "/no/such/command"} {
		run := s.do(s.spec("", func(j *exec.JobSpec) { j.Command = []string{name} }))
		s.ended(run, exec.RunFailed, exec.ReasonSetup)
		if !strings.Contains(run.Message, name) || run.ExitCode != nil {
			s.Errorf("%s: %s, exit code %v", name, run.Message, run.ExitCode)
		}
	}
}

func wrong(s *suite) {
	for what, j := range map[string]exec.JobSpec{
		"no command":          s.spec("", func(j *exec.JobSpec) { j.Command = nil }),
		"an empty command":    s.spec("", func(j *exec.JobSpec) { j.Command = []string{""} }),
		"a variable alone":    s.spec("true", func(j *exec.JobSpec) { j.Env = []string{"A"} }),
		"a relative dir":      s.spec("true", func(j *exec.JobSpec) { j.Dir = "tmp" }),
		"a user by name":      s.spec("true", func(j *exec.JobSpec) { j.User = "root" }),
		"a negative time":     s.spec("true", func(j *exec.JobSpec) { j.Timeout = -1 }),
		"less than requested": s.spec("true", func(j *exec.JobSpec) { j.Resources.Requests.CPUs, j.Resources.Limits.CPUs = 1, 0.5 }),
	} {
		if run, err := s.r.Submit(s.Context(), j); err == nil {
			s.Errorf("%s was submitted, as %s", what, run.ID)
		}
	}
}
