package executor

import (
	"fmt"
	"os"
	"strconv"

	"github.com/opencontainers/runc/libcontainer"
	"github.com/opencontainers/runc/libcontainer/configs"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec/container/enter"
)

// A container is one that libcontainer has made, whose first process waits to be
// told what to become.
type container struct {
	lc      *libcontainer.Container
	process *libcontainer.Process
	control *os.File // executor's end of the enter socket
}

// streams are the files a container's process gets besides those enter needs.
type streams struct {
	stdin          *os.File // nil: empty
	stdout, stderr *os.File
	extra          []*os.File // from enter.FirstFD on
	groups         []*os.File // cgroup.procs of groups to join
	uid, gid       int
}

// create makes a container and leaves its first process waiting in package enter.
func create(id string, config *configs.Config, enterExe *os.File, s streams) (*container, error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("make control socket: %w", err)
	}
	control, inside := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "inside")
	defer inside.Close()
	lc, err := libcontainer.Create(stateDir, id, config)
	if err != nil {
		control.Close()
		return nil, fmt.Errorf("create container: %w", err)
	}
	process := &libcontainer.Process{
		Args:       []string{enter.ExePath},
		Env:        []string{"HOME=/"}, // else libcontainer looks in the root ware's /etc/passwd, which may never end
		Cwd:        "/",
		UID:        s.uid,
		GID:        s.gid,
		Init:       true,
		ExtraFiles: append([]*os.File{enterExe, inside}, s.extra...),
	}
	if s.stdin != nil {
		process.Stdin = s.stdin
	}
	if s.stdout != nil {
		process.Stdout, process.Stderr = s.stdout, s.stderr
	}
	if err := lc.Run(process); err != nil {
		control.Close()
		lc.Destroy()
		return nil, fmt.Errorf("start container: %w", err)
	}
	c := &container{lc: lc, process: process, control: control}
	if err := c.join(s.groups); err != nil {
		c.abandon()
		return nil, err
	}
	return c, nil
}

// join moves the first process into cgroups, and with it what it will start.
func (c *container) join(groups []*os.File) error {
	for _, procs := range groups {
		pid, err := c.process.Pid()
		if err == nil {
			_, err = procs.WriteString(strconv.Itoa(pid))
		}
		if err != nil {
			return fmt.Errorf("move the container into its cgroup: %w", err)
		}
	}
	return nil
}

// become tells the container's process what to be. It returns when the command
// runs, or with the *enter.Error that kept it from running.
func (c *container) become(m enter.Message) error {
	defer c.control.Close()
	if _, err := c.control.Write(m.Encode()); err != nil {
		return fmt.Errorf("tell the container what to run: %w", err)
	}
	return enter.Result(c.control)
}

// abandon ends a container whose process was not told what to be.
func (c *container) abandon() {
	c.control.Close()
	c.lc.Signal(unix.SIGKILL)
	c.process.Wait()
	c.lc.Destroy()
}

// wait waits for the first process, and with it every other, to end.
func (c *container) wait() (*os.ProcessState, error) {
	state, err := c.process.Wait()
	if state != nil {
		return state, nil
	}
	return nil, err
}
