package container

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	osexec "os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Mapping says which ids exist inside the run's user namespace.
type Mapping struct {
	UIDs, GIDs []Range
	helper     bool   // newuidmap and newgidmap must write it
	Why        string // why only one id is mapped; empty otherwise
}

// A Range maps Size ids from Inside on to those from Outside on.
type Range struct{ Inside, Outside, Size int }

// Count returns how many user ids are mapped.
func (m Mapping) Count() int {
	n := 0
	for _, r := range m.UIDs {
		n += r.Size
	}
	return n
}

// allIDs is how many ids a container can expect: those of 16 bits.
const allIDs = 1 << 16

// has reports whether an id is mapped.
func has(ranges []Range, id int) bool {
	for _, r := range ranges {
		if id >= r.Inside && id < r.Inside+r.Size {
			return true
		}
	}
	return false
}

// MayRunAs returns why a job cannot run as a user and group, or nil.
func (m Mapping) MayRunAs(uid, gid int) error {
	if has(m.UIDs, uid) && has(m.GIDs, gid) {
		return nil
	}
	if m.Why == "" {
		return fmt.Errorf("user %d:%d is not among the %d ids that are mapped", uid, gid, m.Count())
	}
	return fmt.Errorf("user %d:%d needs subordinate ids: %s", uid, gid, m.Why)
}

// HostMapping chooses the best mapping this user may have. Inside, id 0 is always
// the user, so that what a job leaves behind is the user's.
func HostMapping() Mapping {
	uid, gid := os.Geteuid(), os.Getegid()
	if uid == 0 && holds(unix.CAP_SETUID) {
		m := Mapping{UIDs: existing("/proc/self/uid_map"), GIDs: existing("/proc/self/gid_map")}
		if m.Count() == 1 {
			m.Why = "kiln itself runs in a user namespace with one id"
		}
		return m
	}
	one := Mapping{UIDs: []Range{{0, uid, 1}}, GIDs: []Range{{0, gid, 1}}}
	subUID, err := subordinate("/etc/subuid", uid)
	if err != nil {
		one.Why = err.Error()
		return one
	}
	subGID, err := subordinate("/etc/subgid", uid)
	if err != nil {
		one.Why = err.Error()
		return one
	}
	for _, helper := range []string{"newuidmap", "newgidmap"} {
		if _, err := osexec.LookPath(helper); err != nil {
			one.Why = helper + " is not installed (Debian and Ubuntu: package uidmap)"
			return one
		}
	}
	return Mapping{
		UIDs:   append(one.UIDs, subUID),
		GIDs:   append(one.GIDs, subGID),
		helper: true,
	}
}

// existing returns the ids of this process's user namespace, to be mapped as they
// are: root may map each, but none that is not there.
func existing(file string) []Range {
	text, err := os.ReadFile(file)
	if err != nil {
		return []Range{{0, 0, 1}}
	}
	var ranges []Range
	for line := range strings.Lines(string(text)) {
		var inside, outside, size int
		if n, _ := fmt.Sscan(line, &inside, &outside, &size); n == 3 && inside < allIDs {
			ranges = append(ranges, Range{inside, inside, min(size, allIDs-inside)})
		}
	}
	return ranges
}

// holds reports whether the process has a capability in effect.
func holds(capability uint) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	return unix.Capget(&header, &data[0]) == nil && data[capability/32].Effective&(1<<(capability%32)) != 0
}

// subordinate returns the user's first range in a subuid or subgid file, as one
// that continues after id 0.
func subordinate(file string, uid int) (Range, error) {
	f, err := os.Open(file)
	if err != nil {
		return Range{}, fmt.Errorf("no subordinate ids: %w", err)
	}
	defer f.Close()
	names := []string{strconv.Itoa(uid)}
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		names = append(names, u.Username)
	}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(fields) != 3 || fields[0] != names[0] && fields[0] != names[len(names)-1] {
			continue
		}
		first, err1 := strconv.Atoi(fields[1])
		size, err2 := strconv.Atoi(fields[2])
		if err1 == nil && err2 == nil && first > 0 && size > 0 {
			return Range{1, first, min(size, allIDs-1)}, nil
		}
	}
	return Range{}, fmt.Errorf("%s has no ids for %s", file, names[len(names)-1])
}

// start starts cmd, which clones a user namespace, with the ids mapped.
func (m Mapping) start(cmd *osexec.Cmd) error {
	if !m.helper {
		cmd.SysProcAttr.UidMappings = sysIDs(m.UIDs)
		cmd.SysProcAttr.GidMappings = sysIDs(m.GIDs)
		cmd.SysProcAttr.GidMappingsEnableSetgroups = m.Count() > 1
		return cmd.Start()
	}
	// The process waits, before its runtime starts, for the helpers to have written
	// its maps; only then is it root in its namespace.
	wait, mapped, err := os.Pipe()
	if err != nil {
		return err
	}
	defer wait.Close()
	defer mapped.Close()
	cmd.ExtraFiles = append(cmd.ExtraFiles, wait)
	cmd.Env = append(cmd.Env, "KILN_AWAIT_MAP="+strconv.Itoa(2+len(cmd.ExtraFiles)))
	if err := cmd.Start(); err != nil {
		return err
	}
	pid := cmd.Process.Pid
	uidErr := make(chan error, 1)
	go func() { uidErr <- runMapper("newuidmap", pid, m.UIDs) }()
	err = errors.Join(runMapper("newgidmap", pid, m.GIDs), <-uidErr)
	if err == nil {
		_, err = mapped.Write([]byte{1})
	}
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
	}
	return err
}

func runMapper(helper string, pid int, ranges []Range) error {
	args := []string{strconv.Itoa(pid)}
	for _, r := range ranges {
		args = append(args, strconv.Itoa(r.Inside), strconv.Itoa(r.Outside), strconv.Itoa(r.Size))
	}
	out, err := osexec.Command(helper, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", helper, err, strings.TrimSpace(string(out)))
	}
	return nil
}

func sysIDs(ranges []Range) []syscall.SysProcIDMap {
	list := make([]syscall.SysProcIDMap, len(ranges))
	for i, r := range ranges {
		list[i] = syscall.SysProcIDMap{ContainerID: r.Inside, HostID: r.Outside, Size: r.Size}
	}
	return list
}
