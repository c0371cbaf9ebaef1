package pack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kilnbuild/kiln/warehouse"
	"golang.org/x/sys/unix"
)

// Limits of what an archive may unpack to, unless ArchiveOptions sets others: far
// above any toolchain or image layer, far below what fills a disk by mistake.
const (
	DefaultMaxBytes   = 64 << 30
	DefaultMaxEntries = 10_000_000
)

// ArchiveOptions says how an archive becomes a ware.
type ArchiveOptions struct {
	Options           // Include and Exclude match paths after Strip
	Strip      int    // leading path components dropped from each entry
	Name       string // of the archive, for errors
	MaxBytes   int64  // content of all files; 0: DefaultMaxBytes
	MaxEntries int64  // 0: DefaultMaxEntries
}

// Untar unpacks r, an uncompressed tar stream, into the warehouse, hashing what it
// writes. It reads r to its end. Entries may come in any order; missing parents have
// mode 0755. Whatever the archive says, nothing outside the fileset is written,
// and nothing is left after an error, which names entry and archive. Package
// archive unpacks compressed streams.
func Untar(ctx context.Context, l *warehouse.Local, r io.Reader, o ArchiveOptions) (warehouse.Record, error) {
	rec, err := untar(ctx, l, r, o)
	if err != nil {
		return warehouse.Record{}, fmt.Errorf("unpack %s: %w", o.Name, err)
	}
	return rec, nil
}

func untar(ctx context.Context, l *warehouse.Local, r io.Reader, o ArchiveOptions) (rec warehouse.Record, err error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.MaxEntries == 0 {
		o.MaxEntries = DefaultMaxEntries
	}
	w, err := newWalk(ctx, o.Options, nil)
	if err != nil {
		return rec, err
	}
	w.keepDirs = true
	staged, err := l.Stage("unpack")
	if err != nil {
		return rec, err
	}
	o.Options = w.o
	u := &unpacker{walk: w, o: o, s: scratchPool.Get().(*scratch), later: map[string]meta{}}
	defer scratchPool.Put(u.s)
	u.root = u.newPlanted(nil, "")
	u.open = []*planted{u.root}
	defer func() {
		u.closeBeyond(0)
		if err != nil {
			err = errors.Join(err, warehouse.RemoveTree(staged))
		}
	}()
	if u.root.dst, err = openat(unix.AT_FDCWD, staged, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
		return rec, err
	}
	if err := u.stream(r); err != nil {
		return rec, err
	}
	if err := u.finish(); err != nil {
		return rec, err
	}
	rec = w.record(w.result(&u.root.dir, false), &u.root.dir)
	return rec.WithoutDirs(), l.Commit(staged, rec)
}

// An unpacker writes a fileset entry by entry. What is at each path it knows from
// what it has written, never from the disk, and it reaches a directory only through
// descriptors of those above it: no name in an archive is ever resolved by the kernel
// beyond one component.
type unpacker struct {
	*walk
	o    ArchiveOptions
	s    *scratch
	root *planted
	open []*planted // the directory written to last and those above it, root first
	// later has the directories, by path, that are taken if something in them is.
	later map[string]meta
}

// A planted directory is one the unpacker has made.
type planted struct {
	dir
	index    map[string]int // in nodes, by name
	subs     map[string]*planted
	explicit bool // the archive has an entry for it
}

// newPlanted makes a directory of which the archive has not told anything.
func (u *unpacker) newPlanted(parent *planted, name string) *planted {
	p := &planted{index: map[string]int{}, subs: map[string]*planted{}}
	p.name, p.fd, p.dst = name, -1, -1
	p.meta = meta{kind: kindDir, mode: 0o755, sec: defaultTime}
	_ = u.o.Filters.apply(&p.meta, true) // rejects no plain directory
	if parent != nil {
		p.parent = &parent.dir
	}
	return p
}

func (u *unpacker) stream(r io.Reader) error {
	tail := &tailReader{r: r}
	tr := tar.NewReader(tail)
	for {
		if err := u.ctx.Err(); err != nil {
			return err
		}
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err == nil && h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		name := ""
		if h != nil {
			name = h.Name
		}
		if err == nil {
			err = u.entry(h, tr)
		}
		if err == io.ErrUnexpectedEOF {
			err = errors.New("the archive is truncated")
		}
		if err != nil {
			return archiveError(name, err)
		}
	}
	if tail.zeros < 512 {
		return errors.New("the archive is truncated: it has no end mark")
	}
	// The rest is padding, but a checksum of the whole may be behind it.
	n, err := io.Copy(io.Discard, io.LimitReader(r, u.o.MaxBytes+1))
	if err == nil && n > u.o.MaxBytes {
		err = errors.New("too much follows its end mark")
	}
	return err
}

func archiveError(name string, err error) error {
	if name == "" {
		return err
	}
	return &EntryError{name, err}
}

// tailReader counts the zero bytes that end what has been read.
type tailReader struct {
	r     io.Reader
	zeros int
}

func (t *tailReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	i := n
	for i > 0 && p[i-1] == 0 {
		i--
	}
	if i > 0 {
		t.zeros = 0
	}
	t.zeros += n - i
	return n, err
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	if u.entries.Load() >= u.o.MaxEntries {
		return fmt.Errorf("it is one entry more than the %d allowed", u.o.MaxEntries)
	}
	path, err := u.components(h.Name)
	if err != nil {
		return err
	}
	if path == nil {
		return nil
	}
	m, err := metaOfHeader(h)
	if err != nil {
		return err
	}
	if u.o.Packtype == Tar {
		for key := range h.PAXRecords {
			if strings.HasPrefix(key, "SCHILY.xattr.") {
				return errors.New("it has extended attributes, which kiln's tar ids do not cover")
			}
		}
	}
	take, maybe := u.taken(path, m.kind == kindDir)
	if !take {
		return nil
	}
	if err := u.o.Filters.apply(&m, u.o.Packtype == Tar); err != nil {
		if err == errSkip {
			return nil
		}
		return err
	}
	if m.kind == kindDir && maybe && !u.has(path) {
		u.later[strings.Join(path, "/")] = m
		return nil
	}
	if m.kind == kindDir {
		return u.directory(path, m)
	}
	parent, name, err := u.place(path)
	if err != nil {
		return err
	}
	return u.plant(parent, name, m, h, content)
}

// components splits an entry's name and drops the leading ones. It returns nil for
// an entry that is dropped, and an empty path for the root.
func (u *unpacker) components(name string) ([]string, error) {
	if strings.HasPrefix(name, "/") {
		return nil, errors.New("its path is absolute")
	}
	path := []string{}
	for c := range strings.SplitSeq(name, "/") {
		switch c {
		case "", ".":
		case "..":
			return nil, errors.New(`its path has ".." in it`)
		default:
			path = append(path, c)
		}
	}
	if u.o.Strip > 0 && len(path) <= u.o.Strip {
		return nil, nil
	}
	return path[u.o.Strip:], nil
}

// taken reports whether the patterns take the entry at path, and whether that is a
// directory taken only for what may be in it.
func (u *unpacker) taken(path []string, isDir bool) (take, maybe bool) {
	if u.match == nil {
		return true, false
	}
	maybe = len(u.match.include) > 0
	for i := range path {
		take, maybe = u.match.take(strings.Join(path[:i+1], "/"), isDir || i < len(path)-1, !maybe)
		if !take {
			return false, false
		}
	}
	return true, maybe
}

// has reports whether the directory at path has been made.
func (u *unpacker) has(path []string) bool {
	at := u.root
	for _, name := range path {
		if at = at.subs[name]; at == nil {
			return false
		}
	}
	return true
}

func metaOfHeader(h *tar.Header) (meta, error) {
	m := meta{
		mode: uint32(h.Mode & 0o7777), uid: uint32(h.Uid), gid: uint32(h.Gid),
		sec: h.ModTime.Unix(), nsec: uint32(h.ModTime.Nanosecond()),
	}
	switch h.Typeflag {
	case tar.TypeReg, '\x00', tar.TypeCont, tar.TypeGNUSparse, tar.TypeLink:
		m.kind = kindFile
	case tar.TypeDir:
		m.kind = kindDir
	case tar.TypeSymlink:
		m.kind, m.mode, m.link = kindSymlink, 0o777, h.Linkname
	case tar.TypeFifo:
		m.kind = kindFifo
	case tar.TypeBlock:
		m.kind = kindBlock
	case tar.TypeChar:
		m.kind = kindChar
	default:
		return m, fmt.Errorf("it is of unknown type %q", h.Typeflag)
	}
	if m.kind == kindBlock || m.kind == kindChar {
		m.major, m.minor = uint32(h.Devmajor), uint32(h.Devminor)
	}
	if int64(m.uid) != int64(h.Uid) || int64(m.gid) != int64(h.Gid) {
		return m, fmt.Errorf("its owner %d:%d is out of range", h.Uid, h.Gid)
	}
	return m, nil
}

// directory makes the directory at path, or gives the one already made for what
// it holds its metadata.
func (u *unpacker) directory(path []string, m meta) error {
	p, err := u.reach(path)
	if err != nil {
		return err
	}
	if p.explicit && p.meta != m {
		return errors.New("the archive has it twice, and not the same")
	}
	p.meta, p.explicit = m, true
	return nil
}

// place returns the directory for the entry at path, which must be new in it.
func (u *unpacker) place(path []string) (*planted, string, error) {
	if len(path) == 0 {
		return nil, "", errors.New("the root of a fileset can only be a directory")
	}
	parent, err := u.reach(path[:len(path)-1])
	if err != nil {
		return nil, "", err
	}
	name := path[len(path)-1]
	if _, twice := parent.index[name]; twice {
		return nil, "", errors.New("the archive has something at its path already")
	}
	return parent, name, nil
}

// reach makes the directory at path the one that is open, creating it and its
// parents as needed.
func (u *unpacker) reach(path []string) (*planted, error) {
	same := 0
	for same < len(path) && same+1 < len(u.open) && u.open[same+1].name == path[same] {
		same++
	}
	u.closeBeyond(same + 1)
	for i, name := range path[same:] {
		at := u.open[len(u.open)-1]
		sub := at.subs[name]
		if sub == nil {
			if j, is := at.index[name]; is {
				return nil, fmt.Errorf("its path leads through %q, which is no directory but %s",
					strings.Join(path[:same+i+1], "/"), kindName(at.nodes[j].meta.kind))
			}
			if err := unix.Mkdirat(at.dst, name, 0o700); err != nil {
				return nil, fmt.Errorf("create directory: %w", err)
			}
			if sub = u.newPlanted(at, name); u.entries.Add(1) > u.o.MaxEntries {
				return nil, fmt.Errorf("it is one entry more than the %d allowed", u.o.MaxEntries)
			}
			if m, is := u.later[strings.Join(path[:same+i+1], "/")]; is {
				sub.meta, sub.explicit = m, true
			}
			at.subs[name] = sub
			at.add(node{name: name, meta: meta{kind: kindDir}})
		}
		var err error
		if sub.dst, err = openat(at.dst, name, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
			return nil, err
		}
		u.open = append(u.open, sub)
	}
	return u.open[len(u.open)-1], nil
}

func kindName(k kind) string {
	return map[kind]string{
		kindFile: "a file", kindSymlink: "a symlink", kindFifo: "a named pipe", kindBlock: "a device", kindChar: "a device",
	}[k]
}

// closeBeyond closes all but the first n open directories.
func (u *unpacker) closeBeyond(n int) {
	for _, p := range u.open[n:] {
		closeDir(&p.dir)
	}
	u.open = u.open[:n]
}

func (p *planted) add(n node) {
	p.index[n.name] = len(p.nodes)
	p.nodes = append(p.nodes, n)
}

// plant writes an entry that is no directory.
func (u *unpacker) plant(parent *planted, name string, m meta, h *tar.Header, content io.Reader) error {
	n := node{name: name, meta: m, digest: emptyDigest}
	var err error
	switch {
	case h.Typeflag == tar.TypeLink:
		err = u.hardlink(parent, &n, h.Linkname)
	case m.kind == kindFile:
		err = u.file(parent, &n, h.Size, content)
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
	u.progress(1, 0)
	parent.add(n)
	return nil
}

func (u *unpacker) file(parent *planted, n *node, size int64, content io.Reader) error {
	if size > u.o.MaxBytes-u.bytes.Load() {
		return fmt.Errorf("with its %d bytes the archive holds more than the %d allowed", size, u.o.MaxBytes)
	}
	fd, err := openat(parent.dst, n.name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	defer unix.Close(fd)
	if err := u.hashContent(readerSource{content}, fd, size, n, u.s); err != nil {
		return err
	}
	return finish(fd, n)
}

// hardlink makes n a copy of a file that the archive has had before: in a ware no
// two names share a file.
func (u *unpacker) hardlink(parent *planted, n *node, target string) error {
	path, err := u.components(target)
	if err == nil && len(path) == 0 {
		err = errors.New("no file of the ware")
	}
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	dir, of := u.root, -1
	for i, c := range path {
		if i < len(path)-1 {
			if dir = dir.subs[c]; dir == nil {
				break
			}
		} else if j, is := dir.index[c]; is {
			of = j
		}
	}
	if of < 0 || dir.nodes[of].meta.kind != kindFile {
		return fmt.Errorf("hard link to %q: the archive has had no such file", target)
	}
	src := dir.nodes[of]
	if src.digest.size > u.o.MaxBytes-u.bytes.Load() {
		return fmt.Errorf("with its %d bytes the archive holds more than the %d allowed", src.digest.size, u.o.MaxBytes)
	}
	from, err := u.openAgain(dir, src.name)
	if err != nil {
		return err
	}
	defer unix.Close(from)
	fd, err := openat(parent.dst, n.name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create file: %w", err)
	}
	defer unix.Close(fd)
	if err := u.copyContent(from, fd, src.digest.size, u.s); err != nil {
		return err
	}
	// No rio hash: rio leaves hard links out of its ids.
	n.meta, n.digest, n.rio = src.meta, src.digest, nil
	u.progress(0, src.digest.size)
	return finish(fd, n)
}

// openAgain opens a file written before, which may lie in a directory that has been
// closed since.
func (u *unpacker) openAgain(p *planted, name string) (int, error) {
	var names []string
	for d := &p.dir; d.parent != nil; d = d.parent {
		names = append(names, d.name)
	}
	fd, err := unix.Dup(u.root.dst)
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

// finish gives all directories their metadata and hashes, from the deepest up.
func (u *unpacker) finish() error {
	u.closeBeyond(1)
	u.entries.Add(1) // the root
	return u.leaveAll(u.root)
}

func (u *unpacker) leaveAll(p *planted) (err error) {
	type frame struct {
		p    *planted
		next int // in p.nodes
	}
	stack := []frame{{p: p}}
	defer func() {
		for _, f := range stack {
			closeDir(&f.p.dir)
		}
	}()
	for len(stack) > 0 {
		f := &stack[len(stack)-1]
		for f.next < len(f.p.nodes) && f.p.nodes[f.next].meta.kind != kindDir {
			f.next++
		}
		if f.next == len(f.p.nodes) {
			if err := u.leaveOne(f.p); err != nil {
				return entryError(&f.p.dir, "", err)
			}
			stack = stack[:len(stack)-1]
			continue
		}
		sub := f.p.subs[f.p.nodes[f.next].name]
		sub.slot = f.next
		f.next++
		if sub.dst, err = openat(f.p.dst, sub.name, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
			return err
		}
		stack = append(stack, frame{p: sub})
	}
	return nil
}

func (u *unpacker) leaveOne(p *planted) error {
	sortNodes(p.nodes)
	if err := finish(p.dst, &p.node); err != nil {
		return err
	}
	u.hashDir(&p.dir, u.s)
	p.node.stamp = stampOf(p.nodes, u.s)
	if p.parent != nil {
		p.parent.nodes[p.slot] = p.node
		closeDir(&p.dir)
	}
	p.nodes, p.index, p.subs = nil, nil, nil
	return nil
}
