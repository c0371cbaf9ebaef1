package executor

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec/container/bundle"
	"github.com/kilnbuild/kiln/internal/dirlock"
	"github.com/kilnbuild/kiln/warehouse"
)

// Where things are in the executor's own root, which holds nothing else.
const (
	warehouseDir = "/warehouse" // the local warehouse, shared with the containers made later
	deviceDir    = "/dev"       // what every job finds at /dev
	stateDir     = "/run"       // libcontainer's state
	jobsDir      = "/jobs"      // a directory for each job, with its tree
	skeletonDir  = "/skeleton"  // what lies under every job's root ware: mount points
	packerRoot   = "/packer"    // the packer's root
	cgroupDir    = "/sys/fs/cgroup"
	hostDir      = "/host" // what of the host jobs may have mounted, by number
)

var ownDirs = []string{
	warehouseDir, deviceDir, deviceDir + "/pts", deviceDir + "/shm", stateDir, jobsDir, hostDir, "/proc", cgroupDir, "/old",
	packerRoot + warehouseDir, packerRoot + jobsDir, packerRoot + "/proc", packerRoot + "/dev",
}

// furniture is what every job finds in its root, whatever its root ware holds.
var furniture = []string{"/proc", "/dev", "/tmp", bundle.ScriptDir}

var devices = []string{"null", "zero", "full", "random", "urandom", "tty"}

var deviceLinks = map[string]string{
	"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2",
	"ptmx": "pts/ptmx",
}

// A setupError names what the executor was doing when its world could not be made.
type setupError struct {
	stage string
	err   error
}

func (e *setupError) Error() string { return e.stage + ": " + e.err.Error() }
func (e *setupError) Unwrap() error { return e.err }

// buildWorld moves the process into a root of its own: a tmpfs with the warehouse dir,
// the device nodes jobs get, a fresh /proc, and nothing of the host but the paths in
// hosts. The process must be the first of new mount, pid and cgroup namespaces.
func buildWorld(dir string, hosts [][]byte) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return &setupError{"make mounts private", err}
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return &setupError{"open the warehouse " + dir, err}
	}
	defer unix.Close(tree)
	taken, err := takeHosts(hosts)
	if err != nil {
		return err
	}
	root := dir // any directory will do: its content is in tree already
	if err := unix.Mount("kiln", root, "tmpfs", unix.MS_NOSUID, "mode=0755"); err != nil {
		return &setupError{"mount a tmpfs", err}
	}
	dirs := ownDirs
	for _, dir := range furniture {
		dirs = append(dirs, skeletonDir+dir)
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return &setupError{"make the executor's root", err}
		}
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, root+warehouseDir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return &setupError{"mount the warehouse", err}
	}
	if err := mountHosts(root+hostDir, taken); err != nil {
		return err
	}
	if err := mountDevices(root + deviceDir); err != nil {
		return err
	}
	if err := unix.Mount("proc", root+"/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return &setupError{"mount /proc", err}
	}
	// Without any cgroup mount libcontainer refuses to work; a read-only one keeps it from making cgroups.
	if err := unix.Mount("cgroup2", root+cgroupDir, "cgroup2", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return &setupError{"mount cgroup2", err}
	}
	if err := unix.PivotRoot(root, root+"/old"); err != nil {
		return &setupError{"change root", err}
	}
	if err := errors.Join(unix.Chdir("/"), unix.Unmount("/old", unix.MNT_DETACH), os.Remove("/old")); err != nil {
		return &setupError{"leave the host's root", err}
	}
	// What is mounted below the jobs' directory from here on arrives in the containers too.
	err = errors.Join(
		unix.Mount("jobs", jobsDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"),
		unix.Mount("", jobsDir, "", unix.MS_SHARED, ""),
		os.Chmod(skeletonDir+"/tmp", 0o1777),
	)
	if err != nil {
		return &setupError{"make the jobs' directory", err}
	}
	return nil
}

// mountDevices fills dir with the host's harmless devices, once for all jobs: a
// user namespace cannot make device nodes, only show existing ones. They are
// mounted read-only, which keeps nobody from writing to a device but keeps a step
// of root's, whose ids are the host's, from changing the host's node.
func mountDevices(dir string) error {
	for _, name := range devices {
		at := filepath.Join(dir, name)
		f, err := os.OpenFile(at, os.O_CREATE|os.O_RDONLY, 0o666)
		if err != nil {
			return &setupError{"make device " + name, err}
		}
		err = bind("/dev/"+name, f, 0, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_RDONLY)
		f.Close()
		if err != nil {
			return &setupError{"mount device /dev/" + name, err}
		}
	}
	for name, target := range deviceLinks {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			return &setupError{"make device link " + name, err}
		}
	}
	return nil
}

// canHoldOverlay says why what jobs write cannot lie in dir.
func canHoldOverlay(dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return errors.New("it lies on an overlay file system, as a container's own files do, and that cannot carry the steps' overlays")
	}
	return nil
}

// runPrefix begins the names of runs' directories below the work directory.
const runPrefix = "run-"

// enterRun makes and locks this run's directory. Another kiln's sweep may be first to
// lock it; then it is waited for, and what it has removed is made again. The directory is
// closed to others: what a step makes set-id lies there as the user's.
func enterRun(dir string) (*os.File, error) {
	for {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		lock, err := dirlock.Lock(dir, unix.LOCK_EX)
		if !errors.Is(err, os.ErrNotExist) {
			return lock, err
		}
	}
}

// sweep removes what earlier runs left in the work directory because they were
// killed. A run that is alive holds the lock on its directory.
func sweep(work string) {
	left, _ := filepath.Glob(filepath.Join(work, runPrefix+"*"))
	for _, path := range left {
		if lock, err := dirlock.Lock(path, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			removeRun(path)
			lock.Close()
		}
	}
}

// removeRun removes a run's directory. Its content goes first: of a tree that is
// very deep parts are moved to the directory it lies in, which should be the run's.
func removeRun(dir string) {
	content, _ := os.ReadDir(dir)
	for _, entry := range content {
		warehouse.RemoveTree(filepath.Join(dir, entry.Name()))
	}
	warehouse.RemoveTree(dir)
}
