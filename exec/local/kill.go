package local

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mine reports whether a process is the command's: of its session, or below it, or
// below this process where that is alone.
func (c *command) mine(pid int, all map[int]process) func(process) bool {
	self := os.Getpid()
	return func(p process) bool {
		if p.session == pid {
			return true
		}
		for range len(all) {
			parent, ok := all[p.parent]
			if p.parent == pid || c.Alone && p.parent == self {
				return true
			}
			if !ok {
				return false
			}
			p = parent
		}
		return false
	}
}

// signal sends a signal to all processes of the command.
func (c *command) signal(pid int, s unix.Signal) {
	all := processes()
	mine := c.mine(pid, all)
	for _, p := range all {
		if mine(p) {
			unix.Kill(p.pid, s)
		}
	}
}

// killRest kills what the command has left behind, until nothing is.
func (c *command) killRest(pid int) {
	killAll(func(all map[int]process) func(process) bool { return c.mine(pid, all) })
	for c.Alone { // they are this process's to bury
		if n, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); n <= 0 && err != unix.EINTR {
			return
		}
	}
}

// killAll kills the processes that are wanted dead, those too that they start meanwhile.
// It gives up on those that will not die, as in a system call that does not end.
func killAll(wanted func(all map[int]process) func(process) bool) {
	for wait := time.Millisecond; wait < 2*time.Second; wait *= 2 {
		left, all := 0, processes()
		doomed := wanted(all)
		for _, p := range all {
			if doomed(p) {
				unix.Kill(p.pid, unix.SIGKILL)
				left++
			}
		}
		if left == 0 {
			return
		}
		time.Sleep(wait)
	}
}

// reapOthers waits until a child has ended, without taking that from who waits for it,
// and meanwhile buries the processes that this one became the parent of.
func reapOthers(pid int) {
	for {
		var info [16]uint64 // siginfo_t: 128 bytes, the pid behind the first 16
		_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_ALL, 0, uintptr(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOWAIT, 0, 0)
		ended := int(int32(info[2]))
		switch {
		case errno == unix.EINTR:
		case errno != 0 || ended == pid:
			return
		default:
			unix.Wait4(ended, nil, unix.WNOHANG, nil)
		}
	}
}
