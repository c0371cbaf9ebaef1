package plan

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/archive"
	"github.com/kilnbuild/kiln/warehouse"
)

// ScanOptions says how something is scanned that no ware block names yet.
type ScanOptions struct {
	pack.BuildOptions                  // its Progress is that of unpacking; Visit is not used
	Warehouse         *warehouse.Local // where archives are unpacked to for as long as it takes
	CacheDir          string           // an existing directory, for downloads
	SHA256            string           // what a url's bytes must have; "": anything
	Offline           bool
	HTTPClient        *http.Client            // as in ResolveOptions
	Downloading       func(done, total int64) // bytes; total -1 if it is not known; may be nil
}

// Scanned is what something would be as a ware.
type Scanned struct {
	pack.Result
	SHA256 string // of the bytes of a url or file, hex; "" of a directory
}

// ScanURL says which ware a ware block with this url would be, and stores nothing: an
// archive is unpacked and hashed, anything else is a file, mode 0644. Errors match
// ErrUnavailable and ErrMismatch as those of Resolve.
func ScanURL(ctx context.Context, rawURL string, o ScanOptions) (s Scanned, err error) {
	if err := offlineError(o.Offline, rawURL); err != nil {
		return Scanned{}, err
	}
	d := newDownloader(o.CacheDir, o.HTTPClient, 0, retry.Policy{})
	o.Name = redactURL(rawURL)
	err = d.get(ctx, rawURL, strings.ToLower(o.SHA256), o.Downloading, func(dl *download) error {
		if err := dl.file.Chmod(0o644); err != nil {
			return err
		}
		s, err = o.scan(ctx, dl)
		return err
	})
	return s, err
}

// ScanFile is ScanURL for a file of this machine, which keeps its mode if it is no
// archive, and for a directory.
func ScanFile(ctx context.Context, path string, o ScanOptions) (Scanned, error) {
	file, err := os.Open(path)
	if err != nil {
		return Scanned{}, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return Scanned{}, err
	}
	if info.IsDir() {
		if o.Cache, err = StatCache(o.CacheDir, path, o.Options); err != nil {
			return Scanned{}, err
		}
		r, err := pack.Scan(ctx, path, o.Options)
		return Scanned{r, ""}, err
	}
	if !info.Mode().IsRegular() {
		return Scanned{}, &os.PathError{Op: "scan", Path: path, Err: errors.New("neither a directory nor a regular file")}
	}
	hash := sha256.New()
	whole := &watchedReader{Reader: io.NewSectionReader(file, 0, info.Size()), ctx: ctx, total: info.Size(), tell: o.Downloading}
	if _, err := io.Copy(hash, whole); err != nil {
		return Scanned{}, err
	}
	sum := hex.EncodeToString(hash.Sum(nil))
	if o.SHA256 != "" && !strings.EqualFold(o.SHA256, sum) {
		return Scanned{}, fmt.Errorf("scan %s: %w", path, wrongSHA256(sum, o.SHA256))
	}
	o.Name = filepath.Base(path)
	return o.scan(ctx, &download{file: file, name: o.Name, sha256: sum, asked: true})
}

// scan finds what a file is as a ware.
func (o *ScanOptions) scan(ctx context.Context, dl *download) (s Scanned, err error) {
	s.SHA256 = dl.sha256
	unpacked, err := unpackArchive(dl, o.Strip, func() error {
		b := o.BuildOptions
		b.Visit = func(f *pack.Fileset) error {
			s.Result = f.Result
			return nil
		}
		_, err := archive.Unpack(ctx, o.Warehouse, dl.file, b)
		return err
	})
	if unpacked || err != nil {
		return s, err
	}
	s.Result, err = pack.Scan(ctx, dl.file.Name(), o.Options)
	return s, err
}

// A watchedReader tells how much has been read, and ends with its context.
type watchedReader struct {
	io.Reader
	ctx         context.Context
	done, total int64
	tell        func(done, total int64)
}

func (r *watchedReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.Reader.Read(p)
	if r.done += int64(n); r.tell != nil {
		r.tell(r.done, r.total)
	}
	return n, err
}
