package toolbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// sh runs a shell script: sh [-aefnux] [-o option] [-c command | file] [arg]...
// The language is POSIX shell, with those of bash's additions that mvdan.cc/sh knows.
func sh(p *proc, args []string) error {
	set, command, rest, err := shellArgs(args)
	if err != nil {
		return codedError{err, 2}
	}
	name, src := "sh", io.Reader(nil)
	switch {
	case command:
		if len(rest) == 0 {
			return codedError{errors.New("option -c needs a command"), 2}
		}
		src, rest = strings.NewReader(rest[0]), rest[1:]
		if len(rest) > 0 {
			name, rest = rest[0], rest[1:]
		}
	case len(rest) > 0:
		name = rest[0]
		f, err := p.open(name)
		if err != nil {
			return codedError{err, 127}
		}
		defer f.Close()
		src, rest = f, rest[1:]
	default:
		src = p.stdin
	}
	return p.script(src, name, append(append(set, "--"), rest...))
}

// shellArgs splits the arguments of sh into options for set, whether -c is one
// of them, and the operands.
func shellArgs(args []string) (set []string, command bool, rest []string, err error) {
	for len(args) > 0 {
		arg := args[0]
		if len(arg) < 2 || arg[0] != '-' && arg[0] != '+' {
			break
		}
		args = args[1:]
		if arg == "--" {
			break
		}
		for _, c := range []byte(arg[1:]) {
			switch {
			case c == 'c' && arg[0] == '-':
				command = true
			case c == 's' && len(arg) == 2:
			case c == 'o':
				if len(args) == 0 {
					return nil, false, nil, errors.New("option -o needs a value")
				}
				set = append(set, arg[:1]+"o", args[0])
				args = args[1:]
			case strings.IndexByte("aefnux", c) >= 0:
				set = append(set, arg[:1]+string(c))
			default:
				return nil, false, nil, fmt.Errorf("unknown option %c%c", arg[0], c)
			}
		}
	}
	return set, command, args, nil
}

// script runs src in a new interpreter. params are the arguments of set.
func (p *proc) script(src io.Reader, name string, params []string) error {
	file, err := syntax.NewParser().Parse(src, name)
	if err != nil {
		return codedError{err, 2}
	}
	traps := newTraps()
	r, err := interp.New(
		interp.Dir(p.dir),
		interp.Env(expand.ListEnviron(p.environ()...)),
		interp.StdIO(p.stdin, p.stdout, p.stderr),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return execCommand }),
		interp.CallHandler(traps.call),
		interp.Params(params...),
	)
	if err != nil {
		return codedError{err, 2}
	}
	err = traps.run(p.ctx, r, file)
	var status interp.ExitStatus
	if errors.As(err, &status) {
		return exit(status)
	}
	return err
}

// execCommand runs a command that is no builtin of the shell: one of our own
// applets within this process, anything else as a process.
func execCommand(ctx context.Context, args []string) error {
	hc := interp.HandlerCtx(ctx)
	p := &proc{
		ctx: ctx, dir: hc.Dir, environ: sync.OnceValue(func() []string { return exported(hc.Env) }),
		stdin: hc.Stdin, stdout: hc.Stdout, stderr: hc.Stderr,
	}
	if hc.Stdin == nil || hc.Stdin == (*os.File)(nil) { // closed by <&-
		p.stdin = strings.NewReader("")
	}
	if code := p.exec(args, hc.Env.Get("PATH").String()); code != 0 {
		return interp.ExitStatus(code)
	}
	return nil
}

// exported lists the environment of a command as "NAME=VALUE".
func exported(env expand.Environ) []string {
	var list []string
	for name, v := range env.Each {
		if v.Exported && v.Kind == expand.String && v.IsSet() {
			list = append(list, name+"="+v.String())
		}
	}
	return list
}

// appletPrefix marks a command that is one of ours wherever it may lie.
const appletPrefix = "toolbox:"

// exec runs a command with p's working directory, environment and streams and
// returns its exit status: 127 if there is no such command, 126 if it cannot be
// run, 128 + N if signal N ended it.
func (p *proc) exec(args []string, pathList string) int {
	if name, ok := strings.CutPrefix(args[0], appletPrefix); ok {
		p.name = name
		return p.main(args[1:])
	}
	if pathList == "" {
		pathList = "/bin:/usr/bin"
	}
	path, err := p.lookPath(args[0], pathList)
	if err != nil {
		fmt.Fprintf(p.stderr, "sh: %s: %v\n", args[0], err)
		if errors.Is(err, fs.ErrPermission) {
			return 126
		}
		return 127
	}
	name := filepath.Base(path)
	if e, known := lookup(name); known && !e.process && isSelf(path) {
		p.name = name
		return p.main(args[1:])
	}
	if strings.Contains(args[0], "/") {
		path = args[0] // what a script sees as $0
	}
	return p.fork(path, args)
}

var errNotFound = errors.New("not found")

// lookPath finds the file of a command as the shell does.
func (p *proc) lookPath(name, pathList string) (string, error) {
	if strings.Contains(name, "/") {
		return p.path(name), executable(p.path(name))
	}
	result := error(errNotFound)
	for _, dir := range filepath.SplitList(pathList) {
		path := p.path(filepath.Join(dir, name))
		err := executable(path)
		if err == nil {
			return path, nil
		}
		if errors.Is(err, fs.ErrPermission) {
			result = err
		}
	}
	return "", result
}

func executable(path string) error {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errNotFound
	case err != nil:
		return cause(err)
	case fi.IsDir() || fi.Mode()&0o111 == 0:
		return fs.ErrPermission
	}
	return nil
}

// self is the file this process runs, nil if /proc does not tell.
var self = sync.OnceValue(func() os.FileInfo {
	fi, err := os.Stat("/proc/self/exe")
	if err != nil {
		return nil
	}
	return fi
})

func isSelf(path string) bool {
	fi, err := os.Stat(path)
	return err == nil && self() != nil && os.SameFile(fi, self())
}

// command prepares a process with p's working directory, environment and streams.
func command(p *proc, path string, args []string) *osexec.Cmd {
	cmd := osexec.CommandContext(p.ctx, path)
	cmd.Args, cmd.Dir, cmd.Env = args, p.dir, p.environ()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.stdin, p.stdout, p.stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 2 * time.Second
	return cmd
}

// waitStatus returns the exit status of a process that ended: 128 + N if signal N
// ended it, 126 if it did not start.
func waitStatus(err error) int {
	var ended *osexec.ExitError
	switch {
	case err == nil || errors.Is(err, osexec.ErrWaitDelay):
		return 0
	case !errors.As(err, &ended):
		return 126
	}
	if ws := ended.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ended.ExitCode()
}

// fork runs a file as a process. One without an interpreter line is a script.
func (p *proc) fork(path string, args []string) int {
	err := command(p, path, args).Run()
	if errors.Is(err, syscall.ENOEXEC) {
		p.name = "sh"
		return p.main(append([]string{path}, args[1:]...))
	}
	code := waitStatus(err)
	if code == 126 && !errors.As(err, new(*osexec.ExitError)) {
		fmt.Fprintf(p.stderr, "sh: %s: %v\n", args[0], cause(err))
	}
	return code
}

// builtin makes an applet of a builtin of the shell, such as printf, so that both
// are one.
func builtin(p *proc, args []string) error {
	return p.script(strings.NewReader(p.name+` "$@"`), p.name, append([]string{"--"}, args...))
}
