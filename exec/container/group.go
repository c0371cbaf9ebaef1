package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/internal/dirlock"
)

// Limits are what all processes of one job may use together. 0 is no limit.
type Limits struct {
	Memory int64   // bytes
	CPUs   float64 // 1.5 is one and a half cores' time
	PIDs   int64   // processes and threads
}

// A Group is the cgroups that limit one job: one of version 2, or of version 1 one for
// each controller. Its zero value limits nothing.
type Group struct {
	dirs   []groupDir
	memory string // the one that limits memory
}

// A groupDir is a cgroup. As long as its kiln lives it is locked, so that others can tell
// those whose kiln has died, wherever that ran.
type groupDir struct {
	path string
	lock *os.File
}

// jobGroupPrefix begins the names of groups of jobs.
const jobGroupPrefix = "kilnjob-"

// NewGroup makes a group with as many of the limits as this user may have here. What
// is left out it returns with the reason, by controller: "memory", "cpu", "pids".
func NewGroup(l Limits) (*Group, map[string]error) {
	SweepGroups()
	v1, v2 := memberships()
	g, left := &Group{}, map[string]error{}
	var unified []string
	for controller := range settingsOf(l, 1) {
		if parent := v1[controller]; parent == "" {
			unified = append(unified, controller)
		} else if err := g.add(parent, settingsOf(l, 1)[controller], controller == "memory"); err != nil {
			left[controller] = err
		}
	}
	if len(unified) > 0 {
		slices.Sort(unified)
		if err := g.addUnified(v2, unified, settingsOf(l, 2)); err != nil {
			for _, controller := range unified {
				left[controller] = err
			}
		}
	}
	return g, left
}

// A setting is a file of a cgroup and what to write to it.
type setting struct {
	file, value string
	optional    bool // not every kernel has the file
}

// settingsOf returns what to write for limits, by controller.
func settingsOf(l Limits, version int) map[string][]setting {
	settings := map[string][]setting{}
	bytes, quota := strconv.FormatInt(l.Memory, 10), strconv.FormatInt(int64(l.CPUs*cpuPeriod), 10)
	if l.Memory > 0 && version == 1 {
		settings["memory"] = []setting{{file: "memory.limit_in_bytes", value: bytes}, {"memory.memsw.limit_in_bytes", bytes, true}}
	} else if l.Memory > 0 {
		settings["memory"] = []setting{{file: "memory.max", value: bytes}, {"memory.swap.max", "0", true}, {"memory.oom.group", "1", true}}
	}
	if l.CPUs > 0 && version == 1 {
		settings["cpu"] = []setting{{file: "cpu.cfs_period_us", value: strconv.Itoa(cpuPeriod)}, {file: "cpu.cfs_quota_us", value: quota}}
	} else if l.CPUs > 0 {
		settings["cpu"] = []setting{{file: "cpu.max", value: quota + " " + strconv.Itoa(cpuPeriod)}}
	}
	if l.PIDs > 0 {
		settings["pids"] = []setting{{file: "pids.max", value: strconv.FormatInt(l.PIDs, 10)}}
	}
	return settings
}

const cpuPeriod = 100_000 // microseconds, the kernel's default

const cgroupRoot = "/sys/fs/cgroup"

// memberships returns the directories of this process's cgroups: by controller in
// version 1, and the one of version 2.
func memberships() (v1 map[string]string, v2 string) {
	v1 = map[string]string{}
	text, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(text)) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		if fields[1] == "" {
			v2 = filepath.Join(cgroupRoot, fields[2])
			continue
		}
		for controller := range strings.SplitSeq(fields[1], ",") {
			v1[controller] = filepath.Join(cgroupRoot, fields[1], fields[2])
		}
	}
	return v1, v2
}

func (g *Group) add(parent string, settings []setting, memory bool) error {
	dir, err := makeGroup(parent)
	if err != nil {
		return err
	}
	for _, s := range settings {
		err := s.write(dir.path)
		if err != nil && !(s.optional && errors.Is(err, os.ErrNotExist)) {
			dir.remove()
			return err
		}
	}
	g.dirs = append(g.dirs, dir)
	if memory {
		g.memory = dir.path
	}
	return nil
}

// write writes the setting of the group in dir. It does not try to make the file, which is
// forbidden and would tell nothing of whether there is one.
func (s setting) write(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, s.file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(s.value)
	return errors.Join(err, f.Close())
}

// makeGroup makes and locks a cgroup. Another kiln's sweep may be first to lock it; then
// another one is made.
func makeGroup(parent string) (groupDir, error) {
	for {
		path, err := os.MkdirTemp(parent, jobGroupPrefix)
		if err != nil {
			return groupDir{}, err
		}
		lock, err := dirlock.Lock(path, unix.LOCK_EX)
		if err == nil {
			return groupDir{path, lock}, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			unix.Rmdir(path)
			return groupDir{}, err
		}
	}
}

// remove reports whether the group is gone. One that a process is in stays.
func (d groupDir) remove() bool {
	if err := unix.Rmdir(d.path); err != nil && !errors.Is(err, unix.ENOENT) {
		return false
	}
	d.lock.Close()
	return true
}

// addUnified makes a group of version 2, in the nearest group above this process that
// has the controllers for its children and lets this user add one.
func (g *Group) addUnified(own string, controllers []string, settings map[string][]setting) error {
	if own == "" {
		return errors.New("this machine has no cgroups with the controller " + strings.Join(controllers, ", "))
	}
	var all []setting
	for _, controller := range controllers {
		all = append(all, settings[controller]...)
	}
	err := error(nil)
	for dir := own; strings.HasPrefix(dir, cgroupRoot); dir = filepath.Dir(dir) {
		text, readErr := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
		given := strings.Fields(string(text))
		if readErr != nil || slices.ContainsFunc(controllers, func(c string) bool { return !slices.Contains(given, c) }) {
			continue
		}
		if err = unix.Access(filepath.Join(dir, "cgroup.procs"), unix.W_OK); err != nil {
			err = &os.PathError{Op: "write", Path: filepath.Join(dir, "cgroup.procs"), Err: err}
			continue
		}
		if err = g.add(dir, all, slices.Contains(controllers, "memory")); err == nil {
			return nil
		}
	}
	if err == nil {
		err = fmt.Errorf("no cgroup above this process has the controller %s for its children", strings.Join(controllers, ", "))
	}
	return err
}

// SweepGroups removes, once for this process, the groups of jobs whose kiln has died. One
// that a process is in stays for the next.
var SweepGroups = sync.OnceFunc(func() {
	v1, v2 := memberships()
	for _, controller := range []string{"memory", "cpu", "pids"} {
		if parent := v1[controller]; parent != "" {
			sweepGroups(parent)
		}
	}
	for dir := v2; dir != "" && strings.HasPrefix(dir, cgroupRoot); dir = filepath.Dir(dir) {
		sweepGroups(dir)
	}
})

func sweepGroups(parent string) {
	entries, _ := os.ReadDir(parent) // and no pattern: names of systemd's have backslashes
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), jobGroupPrefix) {
			continue
		}
		dir := filepath.Join(parent, e.Name())
		if lock, err := dirlock.Lock(dir, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			unix.Rmdir(dir)
			lock.Close()
		}
	}
}

// Procs opens the files to which a process is written that is to be in the group.
func (g *Group) Procs() ([]*os.File, error) {
	files := make([]*os.File, 0, len(g.dirs))
	for _, dir := range g.dirs {
		f, err := os.OpenFile(filepath.Join(dir.path, "cgroup.procs"), os.O_WRONLY, 0)
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			return nil, err
		}
		files = append(files, f)
	}
	return files, nil
}

// OutOfMemory reports whether the kernel has ended a process of the group for want
// of memory.
func (g *Group) OutOfMemory() bool {
	if g.memory == "" {
		return false
	}
	for _, file := range []string{"memory.events", "memory.oom_control"} {
		text, _ := os.ReadFile(filepath.Join(g.memory, file))
		for line := range strings.Lines(string(text)) {
			if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok && n != "0" {
				return true
			}
		}
	}
	return false
}

// Remove removes the group, whose processes have ended, and reports whether it is
// gone. The kernel may need a moment for that.
func (g *Group) Remove() bool {
	g.dirs = slices.DeleteFunc(g.dirs, groupDir.remove)
	return len(g.dirs) == 0
}
