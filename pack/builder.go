package pack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/kilnbuild/kiln/warehouse"
	"golang.org/x/sys/unix"
)

// Limits of what a Builder makes, unless BuildOptions sets others: far above any
// toolchain or image layer, far below what fills a disk by mistake.
const (
	DefaultMaxBytes = 64 << 30
	// DefaultMaxEntries is as many as a Builder holds in 2 GiB: it keeps some 500
	// bytes of each until Commit.
	DefaultMaxEntries = 4_000_000

	maxDepth = 10_000 // components of a path; a system call takes 2,048 at most
	// DefaultMaxRatio is a little below what deflate can reach at all, 1032.
	DefaultMaxRatio = 1000
	// RatioFloor is how many bytes any archive may make, whatever its ratio.
	RatioFloor = 64 << 20
)

// BuildOptions says how entries become a ware.
type BuildOptions struct {
	Options           // Include and Exclude match paths after Strip
	Strip      int    // leading path components dropped from each entry
	Name       string // of what the entries come from, for errors of its readers
	MaxBytes   int64  // content of all files; 0: DefaultMaxBytes; negative: no limit
	MaxEntries int64  // 0: DefaultMaxEntries; negative: no limit
	// Packed tells how many bytes of the packed form have been read so far. With it,
	// files that are together more than MaxRatio times as large and more than
	// RatioFloor are refused. May be nil. It is called from one goroutine.
	Packed   func() int64
	MaxRatio int64 // 0: DefaultMaxRatio; negative: no limit, for packed forms of known content
	// RootFile lets the root be a file, the only entry then: a ware that is one file.
	RootFile bool
	// Want, if set, is what the ware has to be: else Commit keeps nothing, and its
	// error matches warehouse.ErrMismatch.
	Want warehouse.WareID
	// Visit, if not nil, is called by Commit with the fileset, which is then
	// discarded: the warehouse keeps nothing.
	Visit func(*Fileset) error
	// Replace lets an entry take the place of what was added before at its path,
	// and Remove and Clear take entries away: for layers. Without it a path that
	// comes twice is an error.
	Replace bool
}

// An Entry is one entry of a fileset as its packed form describes it, before strip
// and filters.
type Entry struct {
	Path         string // with slashes; Add refuses absolute paths and ".."
	Kind         Kind
	Mode         uint32 // octal 7777; not of symlinks and hard links
	UID, GID     uint32
	Sec          int64 // mtime, since 1970, UTC
	Nsec         uint32
	Link         string // KindSymlink: the target. KindHardlink: the path of a file added before
	Major, Minor uint32 // KindBlock, KindChar
	Size         int64  // KindFile: bytes of content
	Xattrs       bool   // it has extended attributes, which trees leave out and rio's ids cannot cover
}

// A Builder writes a fileset entry by entry into the warehouse, hashing what it
// writes. What is at each path it knows from what it has written, never from the
// disk, and it reaches a directory only through descriptors of those above it: no
// name that it is given is ever resolved by the kernel beyond one component.
// Whatever it is given, nothing outside the fileset is written. One goroutine uses it;
// small files are written by others (crew.go).
type Builder struct {
	*walk
	o      BuildOptions
	l      *warehouse.Local
	staged string // "" once committed or closed
	s      *scratch
	crew   *crew
	failed error // of Add
	root   *planted
	open   []*planted // the directory written to last and those above it, root first
	// later has the directories, by path, that are taken if something in them is.
	later map[string]meta
}

// NewBuilder begins a fileset. The caller closes the Builder.
func NewBuilder(ctx context.Context, l *warehouse.Local, o BuildOptions) (*Builder, error) {
	o.MaxBytes = limit(o.MaxBytes, DefaultMaxBytes)
	o.MaxEntries = limit(o.MaxEntries, DefaultMaxEntries)
	o.MaxRatio = limit(o.MaxRatio, DefaultMaxRatio)
	w, err := newWalk(ctx, o.Options, nil)
	if err != nil {
		return nil, err
	}
	w.keepDirs = true
	o.Options = w.o
	b := &Builder{walk: w, o: o, l: l, later: map[string]meta{}}
	if b.staged, err = l.Stage("build"); err != nil {
		return nil, err
	}
	b.s, b.crew = scratchPool.Get().(*scratch), &crew{w: w}
	b.root = b.newPlanted(nil, "")
	if err := b.openPlanted(b.root, unix.AT_FDCWD, b.staged); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// limit returns n, what it is when it is 0, or what cannot be reached when it is negative.
func limit(n, otherwise int64) int64 {
	switch {
	case n < 0:
		return math.MaxInt64
	case n == 0:
		return otherwise
	}
	return n
}

// Close discards the fileset if it was not committed.
func (b *Builder) Close() error {
	if b.s == nil {
		return nil
	}
	b.crew.close()
	scratchPool.Put(b.s)
	b.s = nil
	b.closeBeyond(0)
	if b.staged == "" {
		return nil
	}
	return warehouse.RemoveTree(b.staged)
}

// Commit moves the fileset into the warehouse as a ware. Nothing can be added after.
func (b *Builder) Commit() (warehouse.Record, error) {
	if err := b.complete(); err != nil {
		return warehouse.Record{}, err
	}
	r := b.result(&b.root.dir, b.root.single)
	if want := b.o.Want; !want.IsZero() && r.ID != want {
		return warehouse.Record{}, fmt.Errorf("it gives the ware %s: %w", r.ID, warehouse.ErrMismatch)
	}
	rec := b.record(r, &b.root.dir)
	if b.o.Visit != nil {
		list, err := newListing(rec.Dirs)
		if err == nil {
			err = b.o.Visit(&Fileset{list, r, b.staged, ErrChanged})
		}
		return rec.WithoutDirs(), err
	}
	err := commit(b.ctx, b.l, b.staged, rec)
	if err == nil {
		b.staged = ""
	}
	return rec.WithoutDirs(), err
}

// complete writes what is to be written and gives the fileset its ids.
func (b *Builder) complete() error {
	if err := cmp.Or(b.failed, b.crew.drain(), b.ctx.Err()); err != nil {
		return err
	}
	if b.o.Replace && len(b.o.Include) > 0 {
		if err := b.prune(b.root, nil); err != nil {
			return err
		}
	}
	b.closeBeyond(1)
	if b.root.single {
		return b.leaveFile(b.root)
	}
	b.entries.Add(1) // the root
	return b.leaveAll(b.root)
}

// Add adds an entry; of a file, it reads e.Size bytes of content. Entries may come in
// any order. Missing parents have mode 0755. What the patterns or filters leave out
// is not added. An error is an EntryError, of this entry or of one added before that
// was written only now, and ends the Builder's use.
func (b *Builder) Add(e *Entry, content io.Reader) error {
	err := b.add(e, content)
	if err == errSkip {
		return nil
	}
	if err == nil {
		return nil
	}
	if err == io.ErrUnexpectedEOF || err == io.EOF {
		err = errors.New("the archive is truncated")
	}
	// An earlier one first: the same error, however many workers there are.
	b.failed = cmp.Or(b.crew.drain(), error(&EntryError{e.Path, err}))
	return b.failed
}

func (b *Builder) add(e *Entry, content io.Reader) error {
	if err := b.ctx.Err(); err != nil {
		return err
	}
	if b.entries.Load() >= b.o.MaxEntries {
		return b.tooMany()
	}
	if b.root.single {
		return errors.New("it comes after the file that the ware is")
	}
	path, err := b.components(e.Path)
	if err != nil || path == nil {
		return err
	}
	if e.Xattrs && b.o.rio() {
		return fmt.Errorf("it has extended attributes, which kiln's %s ids do not cover", b.o.Packtype)
	}
	m := e.meta()
	take, maybe := b.taken(path, m.kind == KindDir)
	if !take {
		return nil
	}
	if err := b.o.Filters.apply(&m, b.o.rio()); err != nil {
		return err
	}
	if m.kind == KindDir {
		if maybe && !b.has(path) {
			b.later[strings.Join(path, "/")] = m
			return nil
		}
		return b.directory(path, m)
	}
	parent, name, err := b.place(path)
	if len(path) == 0 && e.Kind == KindFile && b.o.RootFile {
		parent, name, err = b.placeRoot()
	}
	if err != nil {
		return err
	}
	return b.plant(parent, name, m, e, content)
}

func (e *Entry) meta() meta {
	m := meta{kind: e.Kind, mode: e.Mode & 0o7777, uid: e.UID, gid: e.GID, sec: e.Sec, nsec: e.Nsec}
	switch e.Kind {
	case KindHardlink:
		m.kind = KindFile
	case KindSymlink:
		m.mode, m.link = 0o777, e.Link
	case KindBlock, KindChar:
		m.major, m.minor = e.Major, e.Minor
	}
	return m
}

func (b *Builder) tooMany() error {
	return fmt.Errorf("it is one entry more than the %d allowed", b.o.MaxEntries)
}

// components splits an entry's name and drops the leading ones. It returns nil for
// an entry that is dropped, and an empty path for the root.
func (b *Builder) components(name string) ([]string, error) {
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
	if b.o.Strip > 0 && len(path) <= b.o.Strip {
		return nil, nil
	}
	if len(path) > maxDepth {
		return nil, fmt.Errorf("its path has %d components, more than the %d allowed", len(path), maxDepth)
	}
	return path[b.o.Strip:], nil
}

// Takes reports whether Add would add what is at path, or leave it out by the patterns
// or by Strip: what is left out need not be read. Unlike other methods it may be
// called from any goroutine.
func (b *Builder) Takes(path string, dir bool) bool {
	parts, err := b.components(path)
	if err != nil {
		return true // for Add to tell
	}
	take, _ := b.taken(parts, dir)
	return parts != nil && take
}

// taken reports whether the patterns take the entry at path, and whether that is a
// directory taken only for what may be in it.
func (b *Builder) taken(path []string, isDir bool) (take, maybe bool) {
	if b.match == nil {
		return true, false
	}
	maybe = len(b.match.include) > 0
	full, end := strings.Join(path, "/"), -1
	for i, name := range path {
		end += 1 + len(name)
		take, maybe = b.match.take(full[:end], isDir || i < len(path)-1, !maybe)
		if !take {
			return false, false
		}
	}
	return true, maybe
}
