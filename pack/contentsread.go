package pack

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"

	"golang.org/x/sys/unix"
)

// A contentReader reads one file of a ware after another and checks each against its
// digest. Of the directories only the one of the file last opened is held open:
// there may be more, one in the other, than descriptors.
type contentReader struct {
	c     *Contents
	root  int
	dir   string // path of dirfd, from the root
	dirfd int    // -1: none
	at    string // path of the file's directory
	n     *node
	fd    int // -1: not opened
	left  int64
	sum   hash.Hash
	err   error
}

// begin makes n, an entry of the directory at path, the file to read.
func (r *contentReader) begin(path string, n *node) {
	r.closeFile()
	r.at, r.n, r.left, r.err = path, n, n.digest.size, nil
}

func (r *contentReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	if r.err = r.c.ctx.Err(); r.err == nil && r.fd < 0 {
		r.err = r.open()
	}
	if r.err != nil {
		return 0, r.err
	}
	var more [1]byte
	if r.left == 0 {
		p = more[:] // there must be no more than was recorded
	} else if int64(len(p)) > r.left {
		p = p[:r.left]
	}
	n, err := read(r.fd, p)
	switch {
	case err != nil:
		r.err = err
	case r.left == 0:
		r.err = r.verify(n)
		return 0, r.err
	case n == 0:
		r.err = fmt.Errorf("%w: it has %d bytes in place of %d", ErrCorrupt, r.n.digest.size-r.left, r.n.digest.size)
	}
	r.left -= int64(n)
	r.sum.Write(p[:n])
	return n, r.err
}

// verify ends reading; excess bytes were found behind the file's recorded end.
func (r *contentReader) verify(excess int) error {
	var buf [sha256.Size]byte
	if excess > 0 {
		return fmt.Errorf("%w: it has more than %d bytes", ErrCorrupt, r.n.digest.size)
	}
	if !bytes.Equal(r.sum.Sum(buf[:0]), r.n.digest.sum[:]) {
		return fmt.Errorf("%w: its content has changed", ErrCorrupt)
	}
	return io.EOF
}

func (r *contentReader) open() error {
	if r.dirfd < 0 || r.dir != r.at {
		if err := r.openDir(); err != nil {
			return gone(err)
		}
	}
	var st unix.Stat_t
	fd, err := openat(r.dirfd, r.n.name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err == nil {
		r.fd = fd
		err = fstat(fd, &st)
	}
	if err != nil {
		return gone(err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("%w: it is no file", ErrCorrupt)
	}
	if r.sum == nil {
		r.sum = sha256.New()
	}
	r.sum.Reset()
	return nil
}

// gone says that a ware is corrupt if err means that an entry is not what it was.
func gone(err error) error {
	switch err {
	case unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.ENXIO:
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// maxHop is how much of a path is resolved at once: PATH_MAX of linux/limits.h is 4096.
const maxHop = 3072

// openDir opens the directory at r.at, through no symlink.
func (r *contentReader) openDir() error {
	r.closeDir()
	fd, path := r.root, r.at
	if path == "" {
		path = "."
	}
	for path != "" {
		hop := path
		path = ""
		if len(hop) > maxHop {
			i := bytes.LastIndexByte([]byte(hop[:maxHop]), '/')
			hop, path = hop[:i], hop[i+1:]
		}
		next, err := openBeneath(fd, hop)
		if fd != r.root {
			unix.Close(fd)
		}
		if err != nil {
			return err
		}
		fd = next
	}
	r.dirfd, r.dir = fd, r.at
	return nil
}

func openBeneath(dirfd int, path string) (int, error) {
	how := &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		fd, err := unix.Openat2(dirfd, path, how)
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

func (r *contentReader) closeFile() {
	if r.fd >= 0 {
		unix.Close(r.fd)
		r.fd = -1
	}
}

func (r *contentReader) closeDir() {
	if r.dirfd >= 0 {
		unix.Close(r.dirfd)
		r.dirfd = -1
	}
}

func (r *contentReader) close() {
	r.closeFile()
	r.closeDir()
	if r.root >= 0 {
		unix.Close(r.root)
	}
}
