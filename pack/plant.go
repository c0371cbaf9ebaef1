package pack

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// plant writes an entry that is no directory, or has the crew write it.
func (b *Builder) plant(parent *planted, name string, m meta, e *Entry, content io.Reader) error {
	n := node{name: name, meta: m, digest: emptyDigest}
	var err error
	switch {
	case e.Kind == KindHardlink:
		err = b.hardlink(parent, &n, e.Link)
	case m.kind == KindFile:
		err = b.file(parent, &n, e, content)
	default:
		err = n.create(parent.dst)
		if err == nil {
			var st unix.Stat_t
			if err = lstatat(parent.dst, name, &st); err == nil {
				err = n.made(&st)
			}
		}
	}
	if err != nil {
		return err
	}
	b.progress(1, 0)
	parent.add(n)
	return nil
}

func (b *Builder) file(parent *planted, n *node, e *Entry, content io.Reader) error {
	if e.Size < 0 {
		return fmt.Errorf("its size is %d", e.Size)
	}
	if err := b.fits(e.Size); err != nil {
		return err
	}
	if e.Size > smallFile {
		return b.stream(parent, n, e.Size, content)
	}
	n.digest.size = e.Size
	f := lotFile{in: parent.handle, to: parent, slot: len(parent.nodes), node: *n, path: e.Path}
	if err := b.crew.add(f, e.Size, content); err != nil {
		return err
	}
	b.progress(0, e.Size)
	return b.inRatio()
}

// fits checks that a file of size bytes is not too much.
func (b *Builder) fits(size int64) error {
	if size > b.o.MaxBytes-b.bytes.Load() {
		return fmt.Errorf("with its %d bytes the archive holds more than the %d allowed", size, b.o.MaxBytes)
	}
	return nil
}

// inRatio checks that what was written so far is not too much for what was read. Of the
// last block its padding may not have been read yet: see archive.padFrame.
func (b *Builder) inRatio() error {
	written := b.bytes.Load()
	if b.o.Packed == nil || written <= RatioFloor {
		return nil
	}
	if packed := b.o.Packed(); (written-unpadded)/b.o.MaxRatio > packed {
		return fmt.Errorf("%w: %d bytes of the archive hold %d bytes of files by now, more than %d times as many", ErrRatio, packed, written, b.o.MaxRatio)
	}
	return nil
}

// unpadded is how many bytes of content a block of an archive can have that kiln wrote.
const unpadded = 8 << 20

// createFile makes the file n in dst and opens it for writing.
func createFile(dst int, n *node) (int, error) {
	fd, err := openat(dst, n.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, n.meta.mode&0o777)
	if err != nil {
		return -1, fmt.Errorf("create file: %w", err)
	}
	return fd, nil
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
	if dir.nodes[of].seen == (seen{}) { // the crew has it still
		if err := b.crew.drain(); err != nil {
			return err
		}
	}
	src := dir.nodes[of]
	if err := b.fits(src.digest.size); err != nil {
		return err
	}
	from, err := b.openAgain(dir, src.name)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	n.meta = src.meta
	fd, err := createFile(parent.dst, n)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := b.copyContent(from, fd, src.digest.size, b.s); err != nil {
		return err
	}
	// No rio hash: rio leaves hard links out of its ids.
	n.digest, n.rio = src.digest, nil
	b.progress(0, src.digest.size)
	if err := b.inRatio(); err != nil {
		return err
	}
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
