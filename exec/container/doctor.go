package container

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A Level says how good or bad a Check's finding is.
type Level int

// The levels of a finding.
const (
	Good   Level = iota
	Poorer       // kiln works, with less
	Bad          // kiln does not work
)

// A Check is one thing about this machine that kiln depends on.
type Check struct {
	Name  string
	Level Level
	Found string // what was found, one line
	Hint  string // what to do about it; empty when Good
}

// Examine checks what this machine lets kiln do, from the plainest to what
// depends on it. It ends with a real entry into a run's namespaces, for which the
// warehouse directory must exist.
func Examine(warehouse string, binaries Binaries) []Check {
	checks := []Check{checkKernel(), checkIDs(), checkDisk(warehouse), checkProcesses()}
	entry := Check{Name: "isolation", Found: "namespaces, mounts, seccomp and no network"}
	x, err := Start(Config{Binaries: binaries, Warehouse: warehouse, Run: "doctor-" + strconv.Itoa(os.Getpid()), MaxPIDs: 64})
	if err != nil {
		entry.Level, entry.Found = Bad, err.Error()
	} else {
		x.Close()
	}
	return append(checks, entry)
}

// Linux 5.11 is the first to let a user namespace mount overlays.
const needKernel = "5.11"

func checkKernel() Check {
	c := Check{Name: "kernel"}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		c.Level, c.Found = Bad, err.Error()
		return c
	}
	c.Found = "Linux " + unix.ByteSliceToString(u.Release[:])
	if older(unix.ByteSliceToString(u.Release[:]), needKernel) {
		c.Level, c.Hint = Bad, "kiln needs Linux "+needKernel+" or newer, which lets a user namespace mount overlays."
	}
	return c
}

// older reports whether release a comes before b, by major and minor number.
func older(a, b string) bool {
	var a1, a2, b1, b2 int
	fmt.Sscanf(a, "%d.%d", &a1, &a2)
	fmt.Sscanf(b, "%d.%d", &b1, &b2)
	return a1 < b1 || a1 == b1 && a2 < b2
}

func checkIDs() Check {
	m := HostMapping()
	c := Check{Name: "ids", Found: fmt.Sprintf("%d user ids in a step", m.Count())}
	if m.Why != "" {
		c.Level = Poorer
		c.Found = "one user id in a step: " + m.Why
		c.Hint = "Steps run, as root of their own; only user = \"…\" needs more ids. To have 65,536:\n" +
			"sudo apt-get install uidmap && sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un)"
	}
	return c
}

// Kinds of file system on which an overlay's upper directory cannot be.
var noUpper = map[int64]string{
	unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.NFS_SUPER_MAGIC: "nfs", 0xff534d42: "cifs", 0xfe534d42: "smb2",
	unix.FUSE_SUPER_MAGIC: "fuse", unix.V9FS_MAGIC: "9p", unix.MSDOS_SUPER_MAGIC: "vfat",
}

// lowDisk is how little free space is worth a word, in bytes.
const lowDisk = 1 << 30

func checkDisk(warehouse string) Check {
	c := Check{Name: "warehouse"}
	var st unix.Statfs_t
	if err := unix.Statfs(warehouse, &st); err != nil {
		c.Level, c.Found, c.Hint = Bad, fmt.Sprintf("%s: %v", warehouse, err), "Set KILN_DATA_HOME to a directory that you may write to."
		return c
	}
	free := st.Bavail * uint64(st.Bsize)
	c.Found = fmt.Sprintf("%s, %.1f GiB free", warehouse, float64(free)/(1<<30))
	if kind := noUpper[int64(st.Type)]; kind != "" {
		c.Level, c.Found = Bad, warehouse+" is on a file system of kind "+kind+", which cannot take what steps write"
		c.Hint = "Set KILN_DATA_HOME to a directory on a local disk; in a container, to a volume."
	} else if free < lowDisk {
		c.Level, c.Hint = Poorer, "Make room there, or set KILN_DATA_HOME to a directory with more."
	}
	return c
}

func checkProcesses() Check {
	c := Check{Name: "processes"}
	if os.Geteuid() != 0 {
		c.Found = "limited for the whole run, by RLIMIT_NPROC"
		return c
	}
	g := newPidsGroup("doctor-"+strconv.Itoa(os.Getpid()), 64)
	if g == nil {
		c.Level, c.Found = Poorer, "not limited: root has no pids cgroup here"
		c.Hint = "A step that forks without end can exhaust the machine. Mount the pids cgroup controller, or run kiln as an ordinary user."
		return c
	}
	g.remove()
	c.Found = "limited for the whole run, by " + strings.TrimSuffix(g.dir, "/")
	return c
}
