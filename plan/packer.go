package plan

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/internal/lazyregexp"
	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/archive"
	"github.com/kilnbuild/kiln/warehouse"
)

// packer is what this package needs of package pack.
type packer struct{ o ResolveOptions }

// progressFunc is told how many bytes are done, and of how many, or -1.
type progressFunc func(done, total int64)

func (f progressFunc) entries() func(entries, bytes int64) {
	if f == nil {
		return nil
	}
	return func(_, bytes int64) { f(bytes, -1) }
}

// after is f once ready is set, and nothing before.
func (f progressFunc) after(ready *atomic.Bool) progressFunc {
	if f == nil {
		return nil
	}
	return func(done, total int64) {
		if ready.Load() {
			f(done, total)
		}
	}
}

// has returns nil if the ware is in the warehouse.
func (p *packer) has(id warehouse.WareID) error {
	_, err := p.o.Warehouse.Get(id)
	return err
}

// scan hashes a path source where it lies.
func (p *packer) scan(ctx context.Context, w *formula.Ware, lockPath string, progress progressFunc) (warehouse.WareID, error) {
	o, err := p.options(w, lockPath, progress)
	if err != nil {
		return warehouse.WareID{}, err
	}
	r, err := pack.Scan(ctx, sourcePath(w), o)
	return r.ID, err
}

// ingest copies a path source into the warehouse.
func (p *packer) ingest(ctx context.Context, w *formula.Ware, lockPath string, progress progressFunc) (warehouse.WareID, error) {
	o, err := p.options(w, lockPath, progress)
	if err != nil {
		return warehouse.WareID{}, err
	}
	r, err := pack.Ingest(ctx, p.o.Warehouse, sourcePath(w), o)
	return r.ID, err
}

func (p *packer) options(w *formula.Ware, lockPath string, progress progressFunc) (pack.Options, error) {
	path := sourcePath(w)
	filters, err := pack.ParseFilters(w.Source.Filters)
	if err != nil {
		return pack.Options{}, err
	}
	o := pack.Options{
		Filters:  filters,
		Include:  w.Source.Include,
		Exclude:  append(excludeLock(path, lockPath), w.Source.Exclude...),
		Progress: progress.entries(),
	}
	o.Cache, err = StatCache(p.o.CacheDir, path, o)
	return o, err
}

// StatCache returns the cache, below this package's cache directory, of what is packed
// from path with these options.
func StatCache(cacheDir, path string, o pack.Options) (*pack.StatCache, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if o.Packtype == "" {
		o.Packtype = pack.Tree
	}
	key := fmt.Sprintf("%q %q %q %q %q", path, o.Packtype, o.Filters.Over(pack.DefaultFilters()).String(), o.Include, o.Exclude)
	sum := sha256.Sum256([]byte(key))
	return pack.OpenStatCache(filepath.Join(cacheDir, "stat", hex.EncodeToString(sum[:16])))
}

// excludeLock leaves the formula's lock file out of a ware that it lies in:
// otherwise writing it would change the ware, and with it all that is made of it.
func excludeLock(path, lockPath string) []string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // Scan follows it too
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(lockPath)); err == nil {
		lockPath = filepath.Join(dir, filepath.Base(lockPath))
	}
	rel, err := filepath.Rel(path, lockPath)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return nil
	}
	dir, name := filepath.Split(rel)
	return []string{escapePattern(rel), escapePattern(asideName(dir, name))}
}

var patternEscaper = strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`, "]", `\]`, "{", `\{`, "}", `\}`)

func escapePattern(path string) string { return patternEscaper.Replace(path) }

// unpack puts what was downloaded into the warehouse: an archive unpacked, anything
// else as a ware that is one file, mode 0644.
func (p *packer) unpack(ctx context.Context, w *formula.Ware, dl *download, progress progressFunc) (id warehouse.WareID, err error) {
	filters, err := pack.ParseFilters(w.Source.Filters)
	if err != nil {
		return warehouse.WareID{}, err
	}
	o := pack.Options{Filters: filters, Progress: progress.entries()}
	build := pack.BuildOptions{Options: o, Strip: w.Source.Strip, Name: redactURL(w.Source.URL), MaxBytes: p.o.MaxDownload}
	if w.Source.SHA256 != "" {
		build.MaxRatio = -1 // the formula vouches for the bytes
	}
	unpacked, err := unpackArchive(dl, w.Source.Strip, func() error {
		r, err := archive.Unpack(ctx, p.o.Warehouse, dl.file, build)
		id = r.ID
		return err
	})
	if unpacked || err != nil {
		return id, err
	}
	return p.unpackNot(ctx, dl, o)
}

// unpackArchive calls unpack if what was downloaded is an archive to be unpacked, and
// reports whether it was one. What is named like an archive has to be one: a server's
// error page is not taken for the ware.
func unpackArchive(dl *download, strip int, unpack func() error) (bool, error) {
	if strip == 0 && otherName.MatchString(dl.name) && !namedArchive.MatchString(dl.name) && archive.IsZip(dl.file) {
		return false, nil
	}
	err := unpack()
	switch {
	case !errors.Is(err, archive.ErrFormat):
		return true, err
	case strip != 0:
		return false, dl.noArchive(fmt.Errorf("strip = %d: %w", strip, err))
	case namedArchive.MatchString(dl.name):
		return false, dl.noArchive(fmt.Errorf("%w, although it is named like an archive", err))
	}
	return false, nil
}

// noArchive adds to err, which says that dl should have been an archive, how it begins if
// it is text. Then the error matches ErrUnavailable, unless just these bytes were asked
// for: servers have pages for what they cannot give.
func (dl *download) noArchive(err error) error {
	head := make([]byte, 512) // what DetectContentType looks at
	n, readErr := dl.file.ReadAt(head, 0)
	head = head[:n]
	switch {
	case readErr != nil && readErr != io.EOF:
		return errors.Join(err, readErr)
	case n == 0:
		err = fmt.Errorf("%w; it is empty", err)
	case !strings.HasPrefix(http.DetectContentType(head), "text/"):
		return err
	default:
		begins := []rune(strings.Join(strings.Fields(string(head)), " "))
		err = fmt.Errorf("%w; it is %s and begins %q", err, cmp.Or(dl.kind, "text"), string(begins[:min(len(begins), 80)]))
	}
	if !dl.asked {
		err = unavailableError{err}
	}
	return err
}

// unpackNot makes a ware of the file itself.
func (p *packer) unpackNot(ctx context.Context, dl *download, o pack.Options) (warehouse.WareID, error) {
	if err := dl.file.Chmod(0o644); err != nil {
		return warehouse.WareID{}, err
	}
	r, err := pack.Ingest(ctx, p.o.Warehouse, dl.file.Name(), o)
	return r.ID, err
}

// otherName matches names that say what a file is: many kinds of files are zip archives
// inside, such as .jar, .whl and .docx, and wanted whole.
var otherName = lazyregexp.New(`\.[A-Za-z][A-Za-z0-9]{0,7}$`)

// namedArchive matches the names of files that are to be unpacked, now or by a
// later kiln: taking one for a file would give its ware another id then.
var namedArchive = lazyregexp.New(`(?i)\.(tar|tgz|tbz2?|txz|tzst|zip|tar\.[a-z0-9]+)$`)

var knownFilters sync.Map // string → string, see canonicalFilters

// canonicalFilters gives filters that mean the same the same text. What cannot be
// read as filters stays as it is: using it is an error elsewhere.
func canonicalFilters(filters string) string {
	if filters == "" {
		return ""
	}
	if known, ok := knownFilters.Load(filters); ok {
		return known.(string)
	}
	canonical := filters
	if f, err := pack.ParseFilters(filters); err == nil {
		canonical = f.String()
	}
	knownFilters.Store(filters, canonical)
	return canonical
}
