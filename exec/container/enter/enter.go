// Package enter is the last step into a container: linked into the executor, it
// makes a process that libcontainer has set up, and that was started with
// Env, wait for a Message, install the seccomp filter, and become the command.
// It runs before the Go runtime, so a container starts one runtime, not two, and
// a container can be made before it is known what will be mounted in it.
package enter

/*
#cgo CFLAGS: -Wall -Wextra -Os
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// What a process must be started with: Env as its whole environment, the
// executor's own executable at ExeFD, a stream socket at ControlFD.
const (
	Env       = "KILN_ENTER=1"
	ExeFD     = 3
	ControlFD = 4
	ExePath   = "/proc/self/fd/3"
)

// A Message says what the process becomes.
type Message struct {
	Filter []byte   // struct sock_filter array in native order; empty: none
	Cwd    string   // absolute, inside the container
	Args   []string // argv; Args[0] is looked for along the PATH in Env
	Env    []string // "NAME=value"
}

// Encode returns the bytes to write to the control socket.
func (m Message) Encode() []byte {
	b := make([]byte, 4, 4096+len(m.Filter))
	b = binary.NativeEndian.AppendUint32(b, uint32(len(m.Filter)))
	b = append(b, m.Filter...)
	b = append(append(b, m.Cwd...), 0)
	b = appendStrings(b, m.Args)
	b = appendStrings(b, m.Env)
	binary.NativeEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func appendStrings(b []byte, list []string) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(len(list)))
	for _, s := range list {
		b = append(append(b, s...), 0)
	}
	return b
}

// An Error says which step into the container failed.
type Error struct {
	Stage byte // 'C' cwd, 'S' seccomp, 'X' exec, 'M' message
	Errno unix.Errno
}

func (e *Error) Error() string {
	doing := map[byte]string{'C': "enter the working directory", 'S': "install the seccomp filter", 'X': "execute the command"}[e.Stage]
	if doing == "" {
		doing = "read what to run"
	}
	return fmt.Sprintf("%s: %v", doing, e.Errno)
}

// Result reads from the control socket until the command runs (nil) or could not
// be run (an *Error).
func Result(control io.Reader) error {
	var report [5]byte
	n, err := io.ReadFull(control, report[:])
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET) && n == 0:
		return nil
	case err != nil:
		return fmt.Errorf("read how the command started: %w", err)
	}
	return &Error{Stage: report[0], Errno: unix.Errno(binary.LittleEndian.Uint16(report[1:3]))}
}
