package toolbox

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// A proc is the world of one call of an applet. Several run in one process, as
// commands of one shell, so an applet must use this and never the process's
// own working directory, environment or standard streams.
type proc struct {
	ctx     context.Context
	name    string
	dir     string          // absolute
	environ func() []string // "NAME=VALUE"; later ones win
	stdin   io.Reader
	stdout  io.Writer // unbuffered; applets write to out
	stderr  io.Writer

	out    *bufio.Writer
	status int // of an applet that warned and went on
	fail   int // status of errors
}

// exit is an exit status without a message.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// codedError is an error with an exit status of its own.
type codedError struct {
	error
	code int
}

func (e codedError) Unwrap() error { return e.error }

// main runs the applet p.name and returns its exit status.
func (p *proc) main(args []string) int {
	e, ok := lookup(p.name)
	if !ok {
		fmt.Fprintf(p.stderr, "toolbox: no such applet: %s\n", p.name)
		return 127
	}
	p.fail = e.trouble
	p.out = bufio.NewWriterSize(p.stdout, 32<<10)
	err := e.run(p, args)
	if flushErr := p.out.Flush(); err == nil && flushErr != nil {
		err = fmt.Errorf("write: %w", cause(flushErr))
	}
	return p.exitStatus(err)
}

func (p *proc) exitStatus(err error) int {
	var code exit
	var coded codedError
	switch {
	case err == nil:
		return p.status
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, syscall.EPIPE):
		return 128 + int(syscall.SIGPIPE)
	case errors.As(err, &coded):
		p.complain(err)
		return coded.code
	}
	p.complain(err)
	return p.fail
}

func (p *proc) complain(err error) {
	p.out.Flush()
	fmt.Fprintf(p.stderr, "%s: %v\n", p.name, err)
}

// warn prints err and makes the exit status that of an error; the applet goes on.
func (p *proc) warn(err error) {
	p.complain(err)
	p.status = max(p.status, p.fail)
}

// path returns name as seen from the working directory.
func (p *proc) path(name string) string {
	if filepath.IsAbs(name) || name == "" {
		return name
	}
	return p.dir + "/" + name
}

// getenv returns the value of an environment variable, "" if it is not set.
func (p *proc) getenv(name string) string {
	value := ""
	for _, kv := range p.environ() {
		if v, ok := strings.CutPrefix(kv, name+"="); ok {
			value = v
		}
	}
	return value
}

// cause returns what is wrong with a file, without the call and path that
// package os adds.
func cause(err error) error {
	var pathErr *fs.PathError
	var linkErr *os.LinkError
	var sysErr *os.SyscallError
	switch {
	case errors.As(err, &pathErr):
		return pathErr.Err
	case errors.As(err, &linkErr):
		return linkErr.Err
	case errors.As(err, &sysErr):
		return sysErr.Err
	}
	return err
}

// about names the file that err is about, as the person wrote it.
func about(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, cause(err))
}

// open opens a file to read; "-" is standard input.
func (p *proc) open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(p.stdin), nil
	}
	f, err := os.Open(p.path(name))
	return f, about(name, err)
}

// each calls fn for each file named, standard input if there is none. An error
// about one file is printed and the next one is done.
func (p *proc) each(names []string, fn func(name string, r io.Reader) error) error {
	if len(names) == 0 {
		names = []string{"-"}
	}
	for _, name := range names {
		if err := p.eachOne(name, fn); err != nil {
			return err
		}
	}
	return nil
}

func (p *proc) eachOne(name string, fn func(name string, r io.Reader) error) error {
	f, err := p.open(name)
	if err != nil {
		p.warn(err)
		return nil
	}
	defer f.Close()
	err = fn(name, f)
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) && pathErr.Op == "read" {
		p.warn(about(name, err))
		return nil
	}
	return err
}

// errStop ends lines early, without an error.
var errStop = errors.New("stop")

// lines calls fn with each line of r, without its end; whole is false for a
// last line that has no end. fn must not keep line.
func lines(r io.Reader, end byte, fn func(line []byte, whole bool) error) error {
	br := bufio.NewReaderSize(r, 32<<10)
	var long []byte
	for {
		part, err := br.ReadSlice(end)
		if err == bufio.ErrBufferFull {
			long = append(long, part...)
			continue
		}
		if len(long) > 0 {
			part = append(long, part...)
			long = part[:0]
		}
		if err != nil && err != io.EOF {
			return err
		}
		whole := err == nil
		if whole {
			part = part[:len(part)-1]
		}
		if whole || len(part) > 0 {
			if err := fn(part, whole); err != nil {
				if err == errStop {
					return nil
				}
				return err
			}
		}
		if !whole {
			return nil
		}
	}
}
