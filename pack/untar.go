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
	return rec.WithoutDirs(), commit(ctx, l, staged, rec)
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
