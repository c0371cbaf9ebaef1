// Package file keeps objects in a directory, laid out by content as rio does it:
// aaa/bbb/HASH. The directory may be on a file system that several machines share.
package file

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/packed"
)

// asidePrefix begins the names of files that are being written; no hash of a ware has
// such a directory, since they begin with three letters or digits.
const asidePrefix = ".put-"

// asideAge is how long after its last write a file that was being written counts as
// left by a killed kiln.
const asideAge = 24 * time.Hour

// Open returns the objects in the directory at path. That it is there is found out
// when it is used: an error then says that it is not.
func Open(path string) (packed.Objects, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	return &objects{dir: path}, nil
}

// File returns the one object that is the file at path, whatever name it is asked for
// by. It cannot be written.
func File(path string) packed.Objects { return single{path} }

type single struct{ path string }

func (s single) String() string { return (&url.URL{Scheme: "file", Path: s.path}).String() }

func (s single) Close() error { return nil }

func (s single) Open(_ context.Context, _ string, offset int64, version string) (*packed.Object, error) {
	object, err := openAt(s.path, offset, version)
	return object, s.missing(err)
}

func (s single) Stat(context.Context, string) (packed.Info, error) {
	info, err := infoOf(os.Stat(s.path))
	return info, s.missing(err)
}

func (s single) missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &warehouse.MissingError{What: s.String(), Reason: err}
	}
	return err
}

func (s single) Put(context.Context, string, io.ReaderAt, int64) error {
	return fmt.Errorf("%w: it is the address of one ware, not of a warehouse", warehouse.ErrReadOnly)
}

type objects struct {
	dir   string
	swept sync.Once
}

func (o *objects) String() string {
	return (&url.URL{Scheme: "ca+file", Path: o.dir}).String()
}

func (o *objects) Close() error { return nil }

func (o *objects) path(name string) string { return filepath.Join(o.dir, packed.Path(name)) }

func (o *objects) Open(_ context.Context, name string, offset int64, version string) (*packed.Object, error) {
	object, err := openAt(o.path(name), offset, version)
	if err != nil {
		return nil, o.missing(name, err)
	}
	return object, nil
}

// openAt opens the file at path as an object.
func openAt(path string, offset int64, version string) (*packed.Object, error) {
	// A named pipe would make open wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := infoOf(f.Stat())
	if err == nil && (offset > info.Size || version != "" && version != info.Version) {
		offset = 0
	}
	if err == nil {
		_, err = f.Seek(offset, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &packed.Object{ReadCloser: f, Info: info, Offset: offset}, nil
}

// infoOf makes an Info of what stat returned.
func infoOf(info fs.FileInfo, err error) (packed.Info, error) {
	if err != nil {
		return packed.Info{}, err
	}
	if !info.Mode().IsRegular() {
		return packed.Info{}, fmt.Errorf("%s is not a regular file", info.Name())
	}
	version := fmt.Sprintf("%d-%d", info.Size(), info.ModTime().UnixNano())
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		version = fmt.Sprintf("%s-%d", version, st.Ino)
	}
	return packed.Info{Size: info.Size(), Version: version}, nil
}

func (o *objects) Stat(_ context.Context, name string) (packed.Info, error) {
	info, err := infoOf(os.Stat(o.path(name)))
	return info, o.missing(name, err)
}

// missing turns an error that says that there is no such file into one that says that
// there is no such object, unless it is the whole directory that is not there: it may
// be on a disk that is not mounted.
func (o *objects) missing(name string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	return &warehouse.MissingError{What: name}
}

// check returns an error if there is no directory.
func (o *objects) check() error {
	info, err := os.Stat(o.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return retry.Final(fmt.Errorf("there is no directory %s: mount it, or make it if it is to become a warehouse", o.dir))
	}
	if err == nil && !info.IsDir() {
		err = retry.Final(fmt.Errorf("%s is not a directory", o.dir))
	}
	return err
}

// Put writes beside, makes what it wrote durable and renames it: the order that keeps
// a reader on another machine from seeing a part.
func (o *objects) Put(ctx context.Context, name string, body io.ReaderAt, size int64) error {
	err := o.put(ctx, o.path(name), io.NewSectionReader(body, 0, size))
	if errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrPermission) {
		err = fmt.Errorf("%w: %w", warehouse.ErrReadOnly, err)
	}
	return err
}

func (o *objects) put(ctx context.Context, path string, body io.Reader) error {
	if err := o.check(); err != nil {
		return err
	}
	aside := filepath.Join(o.dir, asidePrefix+rand.Text())
	f, err := os.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	o.swept.Do(func() { o.sweep(f) })
	_, err = io.Copy(f, contextReader{ctx, body})
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = o.install(aside, path)
	}
	if err != nil {
		err = errors.Join(err, ignoreMissing(os.Remove(aside)))
	}
	return err
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// install renames a file into place and makes that durable.
func (o *objects) install(aside, path string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o777); err != nil { // less the umask
		return err
	}
	if err := os.Rename(aside, path); err != nil {
		return err
	}
	for ; ; dir = filepath.Dir(dir) {
		if err := syncDir(dir); err != nil {
			return err
		}
		if dir == o.dir || !strings.HasPrefix(dir, o.dir) {
			return nil
		}
	}
}

// syncDir makes the names in a directory durable, where the file system can do that.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
		return err
	}
	return nil
}

// sweep removes what killed kilns were writing. Ages are told by the clock that gave
// own, a file just made, its time: that of a server may be another than ours.
func (o *objects) sweep(own *os.File) {
	now, err := own.Stat()
	if err != nil {
		return
	}
	left, _ := filepath.Glob(filepath.Join(escapeGlob(o.dir), asidePrefix+"*"))
	for _, path := range left {
		info, err := os.Lstat(path)
		if err == nil && now.ModTime().Sub(info.ModTime()) > asideAge {
			_ = os.Remove(path) // or the next one does
		}
	}
}

var globEscaper = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`)

func escapeGlob(path string) string { return globEscaper.Replace(path) }

// A contextReader ends when its context does.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}
