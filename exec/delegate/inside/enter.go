package inside

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec/container"
	"github.com/kilnbuild/kiln/exec/container/bundle"
	"github.com/kilnbuild/kiln/exec/delegate"
)

// EnterVerb is the helper's own first argument in a process that is on its way from the
// helper to the command: it makes in namespaces of its own what the environment did not.
const EnterVerb = "enter"

// Descriptors of that process.
const (
	orderFD  = 3 // an order, as JSON
	reportFD = 4 // a report; closed when the command runs
)

// An order says what the process does before it becomes the command.
type order struct {
	Loopback bool     // its network namespace is new
	Ports    []string // to be mounted over themselves, in path order
	ReadOnly []bool   // of each of Ports
	UID, GID int
	Dir      string
	Paths    []string // where the command may be
	Args     []string
	Env      []string
	Filter   []byte // seccomp, as in package enter
}

// A report says what the process could not do.
type report struct {
	World bool // its namespaces: without them it may go
	Dir   bool // the working directory
	Errno syscall.Errno
	Text  string
}

// Enter is that process. It returns only when it failed, after it has said so.
func Enter() {
	runtime.LockOSThread() // what follows is this thread's, which becomes the command
	var o order
	out := os.NewFile(reportFD, "report")
	unix.CloseOnExec(reportFD)
	r := func() report {
		if err := json.NewDecoder(os.NewFile(orderFD, "order")).Decode(&o); err != nil {
			return report{World: true, Text: err.Error()}
		}
		unix.CloseOnExec(orderFD)
		if err := o.world(); err != nil {
			return report{World: true, Text: err.Error()}
		}
		return o.become()
	}()
	json.NewEncoder(out).Encode(r)
}

// world makes what needs privileges.
func (o *order) world() error {
	if o.Loopback {
		if err := loopbackUp(); err != nil {
			return fmt.Errorf("set up the loopback: %w", err)
		}
	}
	return o.mount()
}

// mount mounts the ports over themselves, those that are to be so read-only.
func (o *order) mount() error {
	if len(o.Ports) == 0 {
		return nil
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	trees := make([]int, len(o.Ports))
	for i, port := range o.Ports {
		fd, err := unix.OpenTree(unix.AT_FDCWD, port, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return fmt.Errorf("open %s to mount: %w", port, err)
		}
		defer unix.Close(fd)
		trees[i] = fd
	}
	for i, port := range o.Ports {
		if o.ReadOnly[i] {
			err := unix.MountSetattr(trees[i], "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})
			if err != nil {
				return fmt.Errorf("make %s read-only: %w", port, err)
			}
		}
		if err := unix.MoveMount(trees[i], "", unix.AT_FDCWD, port, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("mount %s: %w", port, err)
		}
	}
	return nil
}

// loopbackUp brings up lo, which is down in a new network namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// become gives up what a step does not have, and becomes the command.
func (o *order) become() report {
	failed := func(what string, err error) report { return report{World: true, Text: what + ": " + err.Error()} }
	if err := dropCapabilities(); err != nil {
		return failed("drop capabilities", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return failed("give up new privileges", err)
	}
	if os.Geteuid() == 0 {
		// Of this thread only, and in this order.
		for _, call := range [][3]uintptr{{unix.SYS_SETGROUPS, 0, 0}, {unix.SYS_SETGID, uintptr(o.GID), 0}, {unix.SYS_SETUID, uintptr(o.UID), 0}} {
			_, _, errno := unix.RawSyscall(call[0], call[1], call[2], 0)
			if errno == unix.EPERM && call[0] == unix.SYS_SETGROUPS {
				continue // a user namespace of one group: there is none to give up
			}
			if errno != 0 {
				return failed("change the user", errno)
			}
		}
	}
	if err := unix.Chdir(o.Dir); err != nil {
		return report{Dir: true, Errno: err.(syscall.Errno)}
	}
	if err := filter(o.Filter); err != nil {
		return failed("install the seccomp filter", err)
	}
	said := syscall.ENOENT
	for _, path := range o.Paths {
		err := syscall.Exec(path, o.Args, o.Env)
		if errno, ok := err.(syscall.Errno); ok && errno != unix.ENOENT && errno != unix.ENOTDIR {
			said = errno
		}
	}
	return report{Errno: said}
}

// dropCapabilities leaves to the command those of a step, as far as it would have more.
func dropCapabilities() error {
	keep := map[uintptr]bool{}
	for _, name := range bundle.Capabilities {
		keep[capabilities[name]] = true
	}
	for c := uintptr(0); ; c++ {
		has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0)
		if err == unix.EINVAL {
			return nil // past the last
		}
		if err != nil || has == 0 || keep[c] {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return err
		}
	}
}

// capabilities are the numbers of those that a step has; linux/capability.h.
var capabilities = map[string]uintptr{
	"CAP_CHOWN": unix.CAP_CHOWN, "CAP_DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "CAP_FOWNER": unix.CAP_FOWNER, "CAP_FSETID": unix.CAP_FSETID, "CAP_KILL": unix.CAP_KILL,
	"CAP_SETGID": unix.CAP_SETGID, "CAP_SETUID": unix.CAP_SETUID, "CAP_SETFCAP": unix.CAP_SETFCAP, "CAP_SYS_CHROOT": unix.CAP_SYS_CHROOT,
}

// filter installs a seccomp filter for this thread.
func filter(code []byte) error {
	if len(code) == 0 {
		return nil
	}
	insns := make([]unix.SockFilter, len(code)/int(unsafe.Sizeof(unix.SockFilter{})))
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&insns[0])), len(code)), code)
	program := unix.SockFprog{Len: uint16(len(insns)), Filter: &insns[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return nil
}

// enter starts the command by way of a process that enters namespaces of its own, as many
// as are permitted of those that would do good.
func (h *helper) enter(args []string, dir string, files []uintptr) (pid int, err error) {
	o := order{UID: h.uid, GID: h.gid, Dir: dir, Paths: candidates(args[0], h.Spec.Env), Args: args, Env: h.Spec.Env}
	if o.Filter, err = container.Filter(); err != nil {
		return 0, err
	}
	network := h.offlineHere()
	var flags uintptr
	if network {
		flags |= unix.CLONE_NEWNET
	}
	if len(h.marks) > 0 {
		flags |= unix.CLONE_NEWNS
	}
	for _, user := range []uintptr{0, unix.CLONE_NEWUSER} {
		if flags == 0 {
			break
		}
		full := o
		full.Loopback = network
		full.Ports, full.ReadOnly = h.remounts()
		pid, r, err := h.send(full, flags|user, files)
		if err == nil && r == nil {
			if network {
				h.result.Offline = "enforced"
			}
			h.marks = nil // the kernel sees to it
			return pid, nil
		}
		if err == nil && !r.World {
			return 0, r.about(args[0], dir)
		}
	}
	if h.mustBeOffline() {
		return 0, fmt.Errorf("the command is to be offline: there is a network here, and no namespace without one could be made")
	}
	pid, r, err := h.send(o, 0, files)
	if err == nil && r != nil {
		err = r.about(args[0], dir)
	}
	return pid, err
}

func (r *report) about(command, dir string) error {
	switch {
	case r.World:
		return errors.New(r.Text)
	case r.Dir:
		return fmt.Errorf("enter the working directory %s: %w", dir, r.Errno)
	}
	return fmt.Errorf("%s: %w", command, r.Errno)
}

// remounts are the ports that have to be mounted over themselves so that some are
// read-only: those, and what lies below them.
func (h *helper) remounts() (ports []string, readOnly []bool) {
	for _, in := range h.Spec.Inputs {
		_, frozen := h.marks[in.Port]
		below := slices.ContainsFunc(ports, func(p string) bool { return strings.HasPrefix(in.Port, p+"/") })
		if frozen || below {
			ports, readOnly = append(ports, in.Port), append(readOnly, frozen)
		}
	}
	return ports, readOnly
}

// send starts the process with an order. The report is nil when it became the command.
func (h *helper) send(o order, flags uintptr, files []uintptr) (pid int, r *report, err error) {
	text, err := json.Marshal(o)
	if err != nil {
		return 0, nil, err
	}
	orders, toChild, err := os.Pipe()
	if err != nil {
		return 0, nil, err
	}
	defer orders.Close()
	fromChild, reports, err := os.Pipe()
	if err != nil {
		return 0, nil, errors.Join(err, toChild.Close())
	}
	defer fromChild.Close()
	attr := &syscall.ProcAttr{
		Dir: "/", Env: []string{}, Files: append(slices.Clone(files), orders.Fd(), reports.Fd()),
		Sys: &syscall.SysProcAttr{Setsid: true, Cloneflags: flags},
	}
	if flags&unix.CLONE_NEWUSER != 0 {
		attr.Sys.UidMappings, attr.Sys.GidMappings = same("/proc/self/uid_map"), same("/proc/self/gid_map")
		attr.Sys.GidMappingsEnableSetgroups = os.Geteuid() == 0
	}
	unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0) // or its maps could not be written
	pid, err = syscall.ForkExec(ownExecutable(), []string{delegate.HelperPath, delegate.Verb, EnterVerb}, attr)
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	reports.Close()
	if err != nil {
		toChild.Close()
		return 0, nil, err
	}
	go func() {
		toChild.Write(text)
		toChild.Close()
	}()
	r = &report{}
	if json.NewDecoder(fromChild).Decode(r) != nil {
		return pid, nil, nil
	}
	reap(pid)
	return 0, r, nil
}

// same maps the ids that there are to themselves.
func same(path string) (maps []syscall.SysProcIDMap) {
	text, _ := os.ReadFile(path)
	for line := range strings.Lines(string(text)) {
		var inside, outside, count int
		if n, _ := fmt.Sscan(line, &inside, &outside, &count); n == 3 {
			maps = append(maps, syscall.SysProcIDMap{ContainerID: inside, HostID: inside, Size: count})
		}
	}
	return maps
}

// ownExecutable is the helper's, also where something else lies at its path by now.
func ownExecutable() string {
	const own = "/proc/self/exe"
	if _, err := os.Lstat(own); err == nil {
		return own
	}
	return delegate.HelperPath
}
