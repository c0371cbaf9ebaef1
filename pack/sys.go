package pack

import (
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// scratch is what one worker works with.
type scratch struct {
	buf    [256 << 10]byte // content
	dents  [32 << 10]byte
	msg    []byte
	st     unix.Stat_t
	listed []listed
	sha256 hash.Hash
	sha384 hash.Hash
}

var scratchPool = sync.Pool{New: func() any {
	return &scratch{sha256: sha256.New(), sha384: sha512.New384()}
}}

func retry(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

// openat opens an entry without following a symlink.
func openat(dirfd int, name string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Openat(dirfd, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func fstat(fd int, st *unix.Stat_t) error {
	return retry(func() error { return unix.Fstat(fd, st) })
}

func lstatat(dirfd int, name string, st *unix.Stat_t) error {
	return retry(func() error { return unix.Fstatat(dirfd, name, st, unix.AT_SYMLINK_NOFOLLOW) })
}

// lstatName is lstatat of a name that ends with a NUL.
func lstatName(dirfd int, name *byte, st *unix.Stat_t) error {
	for {
		_, _, e := unix.Syscall6(unix.SYS_NEWFSTATAT, uintptr(dirfd), uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(st)), unix.AT_SYMLINK_NOFOLLOW, 0, 0)
		if e == 0 {
			return nil
		}
		if e != unix.EINTR {
			return e
		}
	}
}

func read(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		if err != unix.EINTR {
			return n, err
		}
	}
}

func writeAll(fd int, p []byte) error {
	for len(p) > 0 {
		n, err := unix.Write(fd, p)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

func getdents(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Getdents(fd, p)
		if err != unix.EINTR {
			return n, err
		}
	}
}

func readlinkat(dirfd int, name string, p []byte) (string, error) {
	for {
		n, err := unix.Readlinkat(dirfd, name, p)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", err
		}
		return string(p[:n]), nil
	}
}

// setTimes sets the mtime, and the atime with it, of the file fd is open on.
func setTimes(fd int, m *meta) error {
	ts := m.times()
	return retry(func() error {
		_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
		if e != 0 {
			return e
		}
		return nil
	})
}

// setTimesAt sets them of an entry, of a symlink itself.
func setTimesAt(dirfd int, name string, m *meta) error {
	ts := m.times()
	return retry(func() error { return unix.UtimesNanoAt(dirfd, name, ts[:], unix.AT_SYMLINK_NOFOLLOW) })
}

func (m *meta) times() [2]unix.Timespec {
	t := unix.Timespec{Sec: m.sec, Nsec: int64(m.nsec)}
	return [2]unix.Timespec{t, t}
}

// kindAt says what an entry is, from the type its directory gave or else its stat.
func kindAt(dirfd int, name string, typ byte) (Kind, error) {
	switch typ {
	case unix.DT_DIR:
		return KindDir, nil
	case unix.DT_LNK:
		return KindSymlink, nil
	case unix.DT_REG:
		return KindFile, nil
	case unix.DT_UNKNOWN:
		var st unix.Stat_t
		if err := lstatat(dirfd, name, &st); err != nil {
			return 0, changed(err)
		}
		m, err := metaOf(&st)
		return m.kind, err
	}
	return KindFifo, nil // or a device or a socket: found out when it is visited
}
