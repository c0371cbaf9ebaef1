package pack

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/kilnbuild/kiln/warehouse"
	"golang.org/x/sys/unix"
)

// A Fileset is what a fileset on disk holds, and where.
type Fileset struct {
	*Listing
	Result
	path string // of the directory, or of the file
	bad  error  // what it means that content is not what the listing says
}

// OpenFileset returns the fileset of a ware in the warehouse. It takes the word of
// the Directory messages in the record, which the ware's tree id proves; where they
// are missing or damaged, it hashes the fileset. The error matches ErrCorrupt if
// that does not give the ware.
func OpenFileset(ctx context.Context, l *warehouse.Local, rec warehouse.Record) (*Fileset, error) {
	f := &Fileset{
		Result: Result{ID: rec.ID, Tree: rec.Tree, File: rec.File, Entries: rec.Entries, Bytes: rec.Bytes},
		path:   l.Fileset(rec), bad: ErrCorrupt,
	}
	rec, err := l.Get(rec.ID) // with its messages
	if err != nil {
		return nil, err
	}
	kept, err := l.Dirs(rec)
	if err == nil && len(kept) > 0 {
		if f.Listing, err = newListing(kept); err == nil && f.proves(rec.Tree) {
			return f, nil
		}
	}
	w, r, _, err := rehash(ctx, l, rec, nil)
	if err != nil {
		return nil, corrupt(rec.ID, err)
	}
	if r.Tree != rec.Tree {
		return nil, fmt.Errorf("ware %s: %w: what was recorded of it is missing, and its files give %s", rec.ID, ErrCorrupt, r.Tree)
	}
	f.Listing, err = newListing(w.dirs)
	return f, err
}

// ReadFileset hashes the directory or file at path, as Scan does.
func ReadFileset(ctx context.Context, path string, o Options) (*Fileset, error) {
	w, err := newWalk(ctx, o, scanner{})
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", path, err)
	}
	w.keepDirs = true
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", path, err)
	}
	r, root, err := w.host(real, -1)
	if err != nil {
		return nil, fmt.Errorf("scan %s: %w", path, err)
	}
	w.cache.save(root)
	list, err := newListing(w.dirs)
	return &Fileset{list, r, real, ErrChanged}, err
}

// Open opens a file of the fileset, at its beginning, after it has read it whole: the
// error matches ErrCorrupt, or ErrChanged for what ReadFileset has read, if its
// content is not what the listing says. The caller closes it.
func (f *Fileset) Open(ctx context.Context, e ListedEntry) (*os.File, error) {
	file, err := f.open(ctx, e)
	if err != nil && f.File {
		return nil, err
	}
	if err != nil {
		return nil, entryError(&dir{}, e.Path, err)
	}
	return file, nil
}

// Reach opens a file of the fileset without reading it: it may be anything. Who reads
// it compares it to what the listing says. The caller closes it.
func (f *Fileset) Reach(e ListedEntry) (*os.File, error) {
	file, err := f.reach(e)
	if err != nil && !f.File {
		err = entryError(&dir{}, e.Path, err)
	}
	return file, err
}

func (f *Fileset) reach(e ListedEntry) (*os.File, error) {
	if e.Kind != KindFile {
		return nil, fmt.Errorf("it is no file but %s", kindName(e.Kind))
	}
	fd, err := f.descend(e.Path)
	if err != nil {
		if errors.Is(changed(err), ErrChanged) {
			err = fmt.Errorf("%w: it is missing", f.bad)
		}
		return nil, err
	}
	return os.NewFile(uintptr(fd), e.Name()), nil
}

func (f *Fileset) open(ctx context.Context, e ListedEntry) (*os.File, error) {
	file, err := f.reach(e)
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	if _, err = io.Copy(hash, &contextReader{ctx, file}); err == nil && hex.EncodeToString(hash.Sum(nil)) != e.SHA256 {
		err = fmt.Errorf("%w: its content has changed", f.bad)
	}
	if err == nil {
		_, err = file.Seek(0, io.SeekStart)
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// descend opens the file at a path of the fileset, through its directories alone.
func (f *Fileset) descend(path string) (int, error) {
	at, rest := unix.AT_FDCWD, f.path
	if path != "" {
		var err error
		if at, err = openat(unix.AT_FDCWD, f.path, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
			return -1, err
		}
		rest = path
		for name, below, more := strings.Cut(rest, "/"); more; name, below, more = strings.Cut(rest, "/") {
			sub, err := openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
			unix.Close(at)
			if err != nil {
				return -1, err
			}
			at, rest = sub, below
		}
		defer unix.Close(at)
	}
	var st unix.Stat_t
	return openFile(at, rest, &st)
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
