package pack

import (
	"crypto/sha256"
	"fmt"

	"golang.org/x/sys/unix"
)

// hashContent reads size bytes from src, the whole of a file, and gives n their digest, and
// for Tar and Zip its rio hash. What it reads it also writes to dst, unless dst is negative.
func (w *walk) hashContent(src, dst int, size int64, n *node, s *scratch) error {
	tar := w.o.rio()
	n.digest.size = 0
	s.sha256.Reset()
	s.sha384.Reset()
	for n.digest.size < size {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		got, err := read(src, s.buf[:])
		if err != nil {
			return err
		}
		if got == 0 {
			return fmt.Errorf("%w: it ends after %d of %d bytes", ErrChanged, n.digest.size, size)
		}
		n.digest.size += int64(got)
		s.sha256.Write(s.buf[:got])
		if tar {
			s.sha384.Write(s.buf[:got])
		}
		if dst >= 0 {
			if err := writeAll(dst, s.buf[:got]); err != nil {
				return err
			}
		}
		w.progress(0, int64(got))
	}
	if n.digest.size > size {
		return fmt.Errorf("%w: it grew", ErrChanged)
	}
	s.sha256.Sum(n.digest.sum[:0])
	if tar {
		n.content = new([48]byte)
		s.sha384.Sum(n.content[:0])
		n.rio = rioFile(n, n.content, s)
	}
	return nil
}

// openFile opens a regular file for reading and checks that it is one.
func openFile(dirfd int, name string, st *unix.Stat_t) (int, error) {
	// O_NONBLOCK: opening a fifo that has taken the file's place must not hang.
	fd, err := openat(dirfd, name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return -1, changed(err)
	}
	if err = fstat(fd, st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = fmt.Errorf("%w: it is no longer a regular file", ErrChanged)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// unchanged checks that the file open at fd is as it was at st.
func unchanged(fd int, st *unix.Stat_t) error {
	var after unix.Stat_t
	if err := fstat(fd, &after); err != nil {
		return err
	}
	if seenOf(&after) != seenOf(st) {
		return ErrChanged
	}
	return nil
}

// describe fills in what is to know of an entry that is no regular file from its
// stat, and applies the filters.
func (w *walk) describe(d *dir, n *node, st *unix.Stat_t, s *scratch) error {
	if err := lstatat(d.fd, n.name, st); err != nil {
		return changed(err)
	}
	return w.describeStat(d, n, st, s)
}

func (w *walk) describeStat(d *dir, n *node, st *unix.Stat_t, s *scratch) error {
	was := n.meta.kind
	var err error
	if n.meta, err = metaOf(st); err != nil {
		return err
	}
	n.seen = seenOf(st)
	if w.cache != nil && w.cache.settled(st) {
		origin := *st
		n.origin = &origin
	}
	if is := n.meta.kind; is == KindDir || is == KindFile && was != KindFile {
		return fmt.Errorf("%w: it has become something else", ErrChanged)
	}
	if n.meta.kind == KindSymlink {
		if n.meta.link, err = readlinkat(d.fd, n.name, s.buf[:]); err != nil {
			return changed(err)
		}
	}
	n.digest = emptyDigest
	return w.o.Filters.apply(&n.meta, w.o.rio())
}

func hashMessage(msg []byte) digest { return digest{sha256.Sum256(msg), int64(len(msg))} }

var emptyDigest = digest{sum: sha256.Sum256(nil)}
