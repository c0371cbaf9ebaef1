package reapi

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

// spool fetches a large content into a file, from which it is added. In the directory
// for parts what has come stays there until the ware is whole.
func (d *download) spool(ctx context.Context, c remote.Digest) (arrival, error) {
	p, err := d.openPart(c)
	if err != nil {
		return arrival{}, err
	}
	if err := d.s.readPart(ctx, d.able, c, p, d.count); err != nil {
		if errors.Is(err, warehouse.ErrMismatch) {
			err = errors.Join(err, p.remove())
		}
		return arrival{}, errors.Join(err, p.release())
	}
	if p.dir == "" {
		d.mu.Lock()
		d.parts = append(d.parts, p.Name())
		d.mu.Unlock()
	}
	open := func(int) (content, error) { return part{p.File, ""}, nil }
	return arrival{[]remote.Digest{c}, open, p.release}, nil
}

// removeParts removes what is of no more use.
func (d *download) removeParts() (err error) {
	for _, path := range d.parts {
		if gone := os.Remove(path); !errors.Is(gone, fs.ErrNotExist) { // another process was done before
			err = errors.Join(err, gone)
		}
	}
	return err
}

// A part is a file that holds the beginning of a content.
type part struct {
	*os.File
	dir string // to be removed with it; "": none
}

func (p part) restart() error {
	if err := p.Truncate(0); err != nil {
		return err
	}
	_, err := p.Seek(0, io.SeekStart)
	return err
}

// Close leaves the file open for its other uses: release closes it.
func (p part) Close() error { return nil }

func (p part) remove() error {
	if p.dir != "" {
		return nil
	}
	return os.Remove(p.Name())
}

func (p part) release() error {
	err := p.File.Close()
	if p.dir != "" {
		err = errors.Join(err, warehouse.RemoveTree(p.dir))
	}
	return err
}

// openPart opens the part of a content. If another process is at it, or there is no
// directory for parts, it is one that nobody will find.
func (d *download) openPart(c remote.Digest) (part, error) {
	if d.dir != "" {
		path := filepath.Join(d.dir, "reapi-"+c.String()+".part")
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return part{}, fmt.Errorf("keep a part: %w", err)
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && same(f, path) {
			return part{f, ""}, nil
		}
		f.Close()
	}
	dir, err := d.local.Stage("reapi")
	if err != nil {
		return part{}, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "part"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return part{}, errors.Join(err, warehouse.RemoveTree(dir))
	}
	return part{f, dir}, nil
}

// same reports whether f is what is at path: who had it before may have removed it.
func same(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(open, there)
}

// readPart reads what is missing of a part. What is there counts if the whole turns
// out right.
func (s *store) readPart(ctx context.Context, able abilities, d remote.Digest, p part, count *counter) error {
	r := &reader{s: s, d: d, to: p, hash: sha256.New(), count: count}
	n, err := io.Copy(r.hash, p)
	switch {
	case err != nil:
		return err
	case n > d.Size:
		r.hash.Reset()
		if err := p.restart(); err != nil {
			return err
		}
	case n > 0:
		r.at, r.parts = n, 1
		r.tell()
	}
	return r.run(ctx, able)
}
