// Package toolbox is a POSIX shell and the core utilities in one binary, which
// acts as the utility it is called as. It is the content of kiln's builtin ware
// "toolbox"; what a flag does follows POSIX and, where people rely on it, GNU.
// A flag or form that is not supported is an error, never ignored.
package toolbox

import (
	"context"
	"os"
	"path/filepath"
	"strings"
)

// An applet is one utility. It returns nil for exit status 0, an exit for a
// status without a message, and any other error to be printed, with the
// applet's trouble status.
type applet func(p *proc, args []string) error

// Names returns the names of all applets.
func Names() []string { return append(names[:], languages...) }

// Main acts as the applet that argv[0] names, or, called as anything else, as the
// one that argv[1] names. It returns the exit status.
func Main(argv []string) int {
	name := filepath.Base(argv[0])
	if _, ok := lookup(name); !ok {
		if len(argv) < 2 {
			os.Stderr.WriteString("usage: toolbox APPLET [ARG]...\n\n" + strings.Join(Names(), " ") + "\n")
			return 1
		}
		name, argv = argv[1], argv[1:]
	}
	dir, err := os.Getwd()
	if err != nil {
		dir = "/"
	}
	p := &proc{
		ctx: context.Background(), name: name, dir: dir, environ: os.Environ,
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
	}
	return p.main(argv[1:])
}
