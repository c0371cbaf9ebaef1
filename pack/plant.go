package pack

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// plant writes an entry that is no directory.
func (b *Builder) plant(parent *planted, name string, m meta, e *Entry, content io.Reader) error {
	n := node{name: name, meta: m, digest: emptyDigest}
	var err error
	switch {
	case e.Kind == KindHardlink:
		err = b.hardlink(parent, &n, e.Link)
	case m.kind == KindFile:
		err = b.file(parent, &n, e.Size, content)
	default:
		err = n.create(parent.dst)
		if err == nil {
			var st unix.Stat_t
			err = lstatat(parent.dst, name, &st)
			n.seen = seenOf(&st)
		}
	}
	if err != nil {
		return err
	}
	b.progress(1, 0)
	parent.add(n)
	return nil
}

func (b *Builder) file(parent *planted, n *node, size int64, content io.Reader) error {
	if size > b.o.MaxBytes-b.bytes.Load() {
		return fmt.Errorf("with its %d bytes the archive holds more than the %d allowed", size, b.o.MaxBytes)
	}
	fd, err := openat(parent.dst, n.name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	defer unix.Close(fd)
	if err := b.hashContent(readerSource{content}, fd, size, n, b.s); err != nil {
		return err
	}
	return finish(fd, n)
}

// hardlink makes n a copy of a file that the archive has had before: in a ware no
// two names share a file.
func (b *Builder) hardlink(parent *planted, n *node, target string) error {
	path, err := b.components(target)
	if err == nil && len(path) == 0 {
		err = errors.New("no file of the ware")
	}
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	dir, of := b.root, -1
	for i, c := range path {
		if i < len(path)-1 {
			if dir = dir.subs[c]; dir == nil {
				break
			}
		} else if j, is := dir.index[c]; is {
			of = j
		}
	}
	if of < 0 || dir.nodes[of].meta.kind != KindFile {
		return fmt.Errorf("hard link to %q: the archive has had no such file", target)
	}
	src := dir.nodes[of]
	if src.digest.size > b.o.MaxBytes-b.bytes.Load() {
		return fmt.Errorf("with its %d bytes the archive holds more than the %d allowed", src.digest.size, b.o.MaxBytes)
	}
	from, err := b.openAgain(dir, src.name)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	fd, err := openat(parent.dst, n.name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	defer unix.Close(fd)
	if err := b.copyContent(from, fd, src.digest.size, b.s); err != nil {
		return err
	}
	// No rio hash: rio leaves hard links out of its ids.
	n.meta, n.digest, n.rio = src.meta, src.digest, nil
	b.progress(0, src.digest.size)
	return finish(fd, n)
}

// openAgain opens a file written before, which may lie in a directory that has been
// closed since.
func (b *Builder) openAgain(p *planted, name string) (int, error) {
	var names []string
	for d := &p.dir; d.parent != nil; d = d.parent {
		names = append(names, d.name)
	}
	fd, err := unix.Dup(b.root.dst)
	for i := len(names) - 1; i >= 0 && err == nil; i-- {
		below, openErr := openat(fd, names[i], unix.O_RDONLY|unix.O_DIRECTORY, 0)
		unix.Close(fd)
		fd, err = below, openErr
	}
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	return openat(fd, name, unix.O_RDONLY, 0)
}
