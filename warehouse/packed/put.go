package packed

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/archive"
	"github.com/kilnbuild/kiln/warehouse"
)

// Put packs a ware of local and puts the archive.
func (s *store) Put(ctx context.Context, rec warehouse.Record, local *warehouse.Local, o warehouse.Transfer) error {
	if rec.Alias {
		rec.ID = rec.Tree
	}
	return s.about("put ware "+rec.ID.String()+" into", s.put(ctx, rec, local, o))
}

func (s *store) put(ctx context.Context, rec warehouse.Record, local *warehouse.Local, o warehouse.Transfer) (err error) {
	if err := check(rec.ID); err != nil {
		return err
	}
	name := rec.ID.String()
	if there, err := s.has(ctx, name); there || err != nil {
		return err
	}
	f, within, remove, err := scratchFile(local, o.CacheDir)
	if err != nil {
		return &warehouse.HereError{Dir: within, Err: err}
	}
	defer func() { err = errors.Join(err, remove()) }()
	size, err := packTo(ctx, f, rec, local)
	if err != nil {
		return &warehouse.HereError{Dir: within, Err: err}
	}
	return s.objects.Put(ctx, name, newProgress(f, size, o.Progress), size)
}

// scratchFile makes a file for an archive that is being made, within the local warehouse,
// where what a killed process leaves is swept; of one that can only be read, elsewhere.
func scratchFile(local *warehouse.Local, cacheDir string) (f *os.File, within string, remove func() error, err error) {
	within = local.Dir()
	dir, err := local.Stage("put")
	if errors.Is(err, warehouse.ErrReadOnly) {
		within = cmp.Or(cacheDir, os.TempDir())
		dir, err = os.MkdirTemp(within, "put-")
	}
	if err != nil {
		return nil, within, nil, err
	}
	f, err = os.Create(filepath.Join(dir, "archive"))
	if err != nil {
		return nil, within, nil, errors.Join(err, os.Remove(dir))
	}
	return f, within, func() error { return errors.Join(f.Close(), warehouse.RemoveTree(dir)) }, nil
}

// packTo writes a ware as an archive to f and returns its size.
func packTo(ctx context.Context, f *os.File, rec warehouse.Record, local *warehouse.Local) (int64, error) {
	var err error
	for _, format := range Formats(rec) {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return 0, err
		}
		if err := f.Truncate(0); err != nil {
			return 0, err
		}
		if err = archive.Write(ctx, local, rec.ID, f, format); !errors.Is(err, archive.ErrZip) {
			break
		}
	}
	if err != nil {
		return 0, err
	}
	return f.Seek(0, io.SeekCurrent)
}

// Formats returns what a ware is packed as. What rio can read is as rio writes it; where
// archive.Write's error matches archive.ErrZip, it is the next one.
func Formats(rec warehouse.Record) []archive.Format {
	tar := archive.Format{Compression: archive.Gzip, File: true}
	switch {
	case rec.ID.Packtype == pack.Tree:
		return []archive.Format{{Compression: archive.Zstd, File: true}}
	case rec.ID.Packtype == pack.Zip && !rec.File:
		return []archive.Format{{Zip: true}, tar}
	}
	return []archive.Format{tar}
}

func newBytes(data []byte) io.ReaderAt { return bytes.NewReader(data) }

// A progress tells how much of r has been read. What is read again, because it was
// sent again, does not count.
type progress struct {
	io.ReaderAt
	mu    sync.Mutex
	done  int64
	total int64
	tell  func(done, total int64)
}

func newProgress(r io.ReaderAt, size int64, tell func(done, total int64)) io.ReaderAt {
	if tell == nil {
		return r
	}
	return &progress{ReaderAt: r, total: size, tell: tell}
}

func (p *progress) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.ReaderAt.ReadAt(b, off)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = min(p.done+int64(n), p.total)
	p.tell(p.done, p.total)
	return n, err
}
