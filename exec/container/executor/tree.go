package executor

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/exec/container/wire"
	"github.com/kilnbuild/kiln/warehouse"
)

// A tree is the file system a job sees, mounted at root: its root ware under an
// overlay and the other inputs in path order. What the job writes goes to upper
// directories beside disk, on the warehouse's file system, so that it can be
// renamed into the warehouse; all else about the job is in memory.
type tree struct {
	dir     string // the job's directory
	disk    string // prefix of its directories in the warehouse
	root    string // where the tree is mounted
	dev     string // what the job finds at /dev
	layers  []layer
	pending []wire.Mount // inputs known, but at a port near one that is not
	late    []string     // ports to come
	mounted bool
}

// A layer says where what a job writes below a port really lies.
type layer struct {
	port  string
	lower string // what was there before, or ""
	upper string // what the job wrote; "": it could not write
}

// buildTree makes the job's directory and mounts what is known.
func (j *job) buildTree() error {
	t := &j.tree
	t.root, t.dev, t.late = t.dir+"/root", t.dir+"/dev", j.Late
	fail := func(err error) error { return failed(wire.StagePrepare, err) }
	for _, dir := range []string{t.dir, t.root, t.dev} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return fail(err)
		}
	}
	t.mounted = true
	if err := t.mountDev(); err != nil {
		return fail(err)
	}
	lower := ""
	if j.Root != nil && j.Root.File {
		err := fmt.Errorf("ware %s is a single file, and the root of a step is a directory: give it another port, such as /file", j.Root.Ware)
		return &jobError{wire.Failed{Stage: wire.StageInput, Port: "/", Err: err.Error()}, err}
	}
	if j.Root != nil {
		lower = sourceOf(*j.Root)
	}
	if err := t.overlay("/", lower, t.root); err != nil {
		return &jobError{wire.Failed{Stage: wire.StageInput, Port: "/", Err: err.Error()}, err}
	}
	if len(j.Scripts) > 0 {
		if err := j.mountScripts(); err != nil {
			return fail(err)
		}
	}
	for i, m := range j.Mounts {
		if slices.ContainsFunc(t.late, func(port string) bool { return nested(port, m.Port) || nested(m.Port, port) }) {
			t.pending = append(t.pending, m)
			continue
		}
		if err := t.mountInput(m, j.Mounts[i+1:]); err != nil {
			return err
		}
	}
	return nil
}

// mountLate mounts the inputs that were not known, or could not be mounted, when
// the tree was built.
func (t *tree) mountLate(mounts []wire.Mount) error {
	all := append(slices.Clone(t.pending), mounts...)
	slices.SortFunc(all, func(a, b wire.Mount) int { return strings.Compare(a.Port, b.Port) })
	for i, m := range all {
		if err := t.mountInput(m, all[i+1:]); err != nil {
			return err
		}
	}
	return nil
}

// nested reports whether port lies below outer.
func nested(port, outer string) bool {
	return outer == "/" && port != "/" || strings.HasPrefix(port, outer+"/")
}

// mountInput mounts one ware at its port. later are the mounts still to come, in
// port order, for some of which a read-only ware may have to be given mount points.
func (t *tree) mountInput(m wire.Mount, later []wire.Mount) error {
	source := sourceOf(m)
	err := func() error {
		if _, err := os.Lstat(source); err != nil {
			return fmt.Errorf("ware %s is not in the warehouse", m.Ware)
		}
		point, err := t.mountPoint(m.Port, m.File)
		if err != nil {
			return err
		}
		defer point.Close()
		at := procPath(point)
		if m.Overlay && !m.File {
			return t.overlay(m.Port, source, at)
		}
		t.layers = append(t.layers, layer{port: m.Port, lower: source})
		skeleton := ""
		if !m.Through {
			if skeleton, err = t.skeleton(m, source, later); err != nil {
				return err
			}
		}
		if skeleton != "" {
			return unix.Mount("overlay", at, "overlay", unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV, "userxattr,lowerdir="+skeleton+":"+source)
		}
		switch {
		case m.Host == 0:
			return bind(source, point, 0, inputFlags|unix.MOUNT_ATTR_RDONLY)
		case m.Through:
			return bind(source, point, unix.AT_RECURSIVE, inputFlags)
		}
		return bind(source, point, unix.AT_RECURSIVE, inputFlags|unix.MOUNT_ATTR_RDONLY)
	}()
	if err != nil {
		return &jobError{wire.Failed{Stage: wire.StageInput, Port: m.Port, Err: err.Error()}, err}
	}
	return nil
}

// sourceOf returns where the executor has what is to be mounted.
func sourceOf(m wire.Mount) string {
	if m.Host > 0 {
		return hostDir + "/" + strconv.Itoa(m.Host)
	}
	return filepath.Join(warehouseDir, m.Path)
}

// overlay mounts lower at target so that the job can write, and notes where the
// writes go.
func (t *tree) overlay(port, lower, target string) error {
	base := t.disk + "." + strconv.Itoa(len(t.layers))
	l := layer{port: port, lower: lower, upper: base + ".upper"}
	work := base + ".work"
	for _, dir := range []string{l.upper, work} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	t.layers = append(t.layers, l)
	if lower != "" {
		if err := likeLower(l.upper, lower); err != nil {
			return err
		}
	}
	if port == "/" {
		lower = strings.TrimPrefix(lower+":"+skeletonDir, ":")
	}
	options := "userxattr,volatile,lowerdir=" + lower + ",upperdir=" + l.upper + ",workdir=" + work
	if err := unix.Mount("overlay", target, "overlay", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount overlay: %w", err)
	}
	return nil
}

// mountDev gives the job its own terminals and shared memory among the devices
// that all jobs share.
func (t *tree) mountDev() error {
	point, err := os.Open(t.dev)
	if err != nil {
		return err
	}
	defer point.Close()
	flags := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC)
	if err := bind(deviceDir, point, unix.AT_RECURSIVE, flags|unix.MOUNT_ATTR_RDONLY); err != nil {
		return err
	}
	return errors.Join(
		unix.Mount("devpts", t.dev+"/pts", "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620"),
		unix.Mount("shm", t.dev+"/shm", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=1777,size=67108864"),
	)
}

// likeLower gives the upper directory the mode and the mtime of the lower one: the
// merged directory shows the upper one's.
func likeLower(upper, lower string) error {
	info, err := os.Stat(lower)
	if err != nil {
		return err
	}
	if err := os.Chmod(upper, info.Mode()); err != nil {
		return err
	}
	return os.Chtimes(upper, info.ModTime(), info.ModTime())
}

// skeleton returns a directory with the mount points that later mounts need below
// m and that the ware lacks, or "" when it lacks none.
func (t *tree) skeleton(m wire.Mount, source string, later []wire.Mount) (string, error) {
	var missing []wire.Mount
	for _, l := range later {
		if !m.File && nested(l.Port, m.Port) {
			if _, err := os.Lstat(filepath.Join(source, strings.TrimPrefix(l.Port, m.Port))); err != nil {
				missing = append(missing, l)
			}
		}
	}
	if len(missing) == 0 {
		return "", nil
	}
	base := t.dir + "/skeleton." + strconv.Itoa(len(t.layers))
	if err := os.Mkdir(base, 0o755); err != nil {
		return "", err
	}
	for _, l := range missing {
		at := filepath.Join(base, strings.TrimPrefix(l.Port, m.Port))
		if err := makePoint(at, l.File); err != nil {
			return "", err
		}
	}
	return base, likeLower(base, source)
}

func makePoint(at string, file bool) error {
	if !file {
		return os.MkdirAll(at, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
		return err
	}
	return os.WriteFile(at, nil, 0o644)
}

// mountPoint opens the place of a port in the tree, making it where it is missing.
// Symbolic links on the way are followed as the job would follow them: never out.
func (t *tree) mountPoint(port string, file bool) (*os.File, error) {
	root, err := os.OpenFile(t.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	dir := port
	if file {
		dir = path.Dir(port)
	}
	handle, err := openInRoot(root, dir)
	if errors.Is(err, unix.ENOENT) {
		handle, err = pathrs.MkdirAllHandle(root, dir, 0o755)
	}
	if errors.Is(err, unix.EROFS) {
		return nil, fmt.Errorf("no place to mount %s: what it lies in is read-only and does not have it (use mode = \"overlay\" there)", port)
	}
	if errors.Is(err, unix.ENOTDIR) {
		return nil, fmt.Errorf("no place to mount %s: on the way to it, or there, is a file or a symbolic link that leads nowhere", port)
	}
	if err != nil {
		return nil, err
	}
	if !file {
		return fitting(handle, port, file)
	}
	defer handle.Close()
	fd, err := unix.Openat(int(handle.Fd()), path.Base(port), unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		fd, err = unix.Openat(int(handle.Fd()), path.Base(port), unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	}
	if err != nil {
		return nil, fmt.Errorf("no place to mount %s: %w", port, err)
	}
	return fitting(os.NewFile(uintptr(fd), port), port, file)
}

// fitting returns point if a ware can be mounted there: a
// directory on a directory, a file on what is none.
func fitting(point *os.File, port string, file bool) (*os.File, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(point.Fd()), &st); err != nil {
		point.Close()
		return nil, err
	}
	if isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR; isDir != file {
		return point, nil
	}
	point.Close()
	if file {
		return nil, fmt.Errorf("no place to mount %s: the ware is a file, and a directory is there", port)
	}
	return nil, fmt.Errorf("no place to mount %s: the ware is a directory, and a file is there", port)
}

// openInRoot opens path as a process whose root directory is root would.
func openInRoot(root *os.File, path string) (*os.File, error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for {
		fd, err := unix.Openat2(int(root.Fd()), path, &how)
		switch err {
		case nil:
			return os.NewFile(uintptr(fd), path), nil
		case unix.EINTR, unix.EAGAIN: // the latter when anything on this machine was renamed or mounted meanwhile
		default:
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

const inputFlags = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV

// bind mounts source over point, with what is mounted below it if recursive is
// AT_RECURSIVE. The attributes are set before the mount is attached, since it is
// copied into containers at that moment.
func bind(source string, point *os.File, recursive uint, attributes uint64) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW|recursive)
	if err != nil {
		return fmt.Errorf("open %s to mount: %w", source, err)
	}
	defer unix.Close(fd)
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|recursive, &unix.MountAttr{Attr_set: attributes}); err != nil {
		return fmt.Errorf("set mount flags: %w", err)
	}
	err = unix.MoveMount(fd, "", int(point.Fd()), "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
	return os.NewSyscallError("move_mount", err)
}

func procPath(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }

// remove takes the tree down with all that the job wrote and nobody took.
func (t *tree) remove() {
	t.unmount()
	for _, l := range t.layers {
		if l.upper != "" {
			warehouse.RemoveTree(l.upper)
			warehouse.RemoveTree(strings.TrimSuffix(l.upper, ".upper") + ".work")
		}
	}
	warehouse.RemoveTree(t.dir)
}

// unmount takes the mounts down. Containers that were being made at the same time
// may hold copies a moment longer.
func (t *tree) unmount() {
	if t.mounted {
		unix.Unmount(t.root, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		unix.Unmount(t.dev, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		unix.Unmount(t.dir+"/own", unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		t.mounted = false
	}
}
