// Package enter is the last step into a container. The program kiln-enter, in
// cmd/kiln-enter, is started by libcontainer as a container's command, waits for a
// Message, installs the seccomp filter, and becomes the command. So a container
// can be made before it is known what will be mounted in it, and the filter need
// not allow what making a container takes.
package enter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// What kiln-enter must be started with: itself at ExeFD, by the name ExePath, and a
// stream socket at ControlFD. Descriptors from FirstFD on are the command's.
const (
	ExeFD     = 3
	ExePath   = "/proc/self/fd/3"
	ControlFD = 4
	FirstFD   = 5
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
	var report [3]byte
	n, err := io.ReadFull(control, report[:])
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, unix.ECONNRESET) && n == 0:
		return nil
	case err != nil:
		return fmt.Errorf("read how the command started: %w", err)
	}
	return &Error{Stage: report[0], Errno: unix.Errno(binary.LittleEndian.Uint16(report[1:3]))}
}
