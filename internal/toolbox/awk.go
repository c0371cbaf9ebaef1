//go:build !core

package toolbox

import (
	"fmt"
	"io"
	"strings"

	"github.com/benhoyt/goawk/interp"
	"github.com/benhoyt/goawk/parser"
)

// awk runs a program in AWK: awk [-F SEP] [-v NAME=VALUE]... [PROGRAM | -f FILE]... [ARG]...
// Files, pipes and system() see the working directory and the environment of the
// process, so it always is a process of its own.
func awk(p *proc, args []string) error {
	opts, rest, err := p.options(args, "+F:v:f:", "field-separator=F assign=v file=f")
	if err != nil {
		return err
	}
	var src strings.Builder
	for _, name := range opts.all('f') {
		f, err := p.open(name)
		if err != nil {
			return err
		}
		data, err := io.ReadAll(f)
		f.Close()
		if err != nil {
			return about(name, err)
		}
		src.Write(data)
		src.WriteByte('\n')
	}
	if !opts.has('f') {
		if len(rest) == 0 {
			return fmt.Errorf("missing program")
		}
		src.WriteString(rest[0])
		rest = rest[1:]
	}
	program, err := parser.ParseProgram([]byte(src.String()), nil)
	if err != nil {
		return err
	}
	config := &interp.Config{
		Stdin: p.stdin, Output: p.out, Error: p.stderr, Argv0: "awk", Args: rest,
		ShellCommand: []string{"/bin/sh", "-c"},
	}
	for _, o := range opts {
		switch o.flag {
		case 'F':
			sep := o.value
			if sep == "t" {
				sep = "\t"
			}
			config.Vars = append(config.Vars, "FS", sep)
		case 'v':
			name, value, ok := strings.Cut(o.value, "=")
			if !ok {
				return fmt.Errorf("-v %s: want NAME=VALUE", o.value)
			}
			config.Vars = append(config.Vars, name, value)
		}
	}
	for _, kv := range p.environ() {
		name, value, _ := strings.Cut(kv, "=")
		config.Environ = append(config.Environ, name, value)
	}
	code, err := interp.ExecProgram(program, config)
	if err == nil && code != 0 {
		err = exit(code)
	}
	return err
}
