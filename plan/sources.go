package plan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/formula"
)

// sourceKey is equal for wares that are bound to be the same.
func sourceKey(w *formula.Ware) (string, error) {
	s := w.Source
	switch s.Kind {
	case formula.SourceBuiltin:
		return "builtin\x00" + s.Builtin + "\x00" + s.Filters, nil
	case formula.SourcePath:
		return strings.Join([]string{"path", sourcePath(w), s.Filters,
			strings.Join(s.Include, "\x01"), strings.Join(s.Exclude, "\x01")}, "\x00"), nil
	case formula.SourceURL:
		return fmt.Sprintf("url\x00%s\x00%s\x00%d\x00%s", s.URL, strings.ToLower(s.SHA256), s.Strip, s.Filters), nil
	case formula.SourceGit:
		at, local := gitPath(w)
		if !local {
			at = s.Git
		}
		if s.Unlocked {
			at = "\x00" + at
		}
		return fmt.Sprintf("git\x00%s\x00%s\x00%s\x00%t\x00%s\x00%q\x00%q", at, s.Ref, s.Subdir, s.NoSubmodules, s.Filters, s.Include, s.Exclude), nil
	case formula.SourceOCI:
		return fmt.Sprintf("oci\x00%s\x00%s\x00%s\x00%q\x00%q", imagePlace(w), s.Platform, s.Filters, s.Include, s.Exclude), nil
	case formula.SourceID:
		return fmt.Sprintf("id\x00%s\x00%s\x00%t", s.ID, s.Filters, s.Unlocked), nil
	case formula.SourceText:
		return "text\x00" + s.Text, nil
	case formula.SourceCatalog:
		return "catalog\x00" + s.Catalog + "\x00" + w.Dir, nil
	}
	return "", fmt.Errorf("resolve %s: unknown kind of source %q", w.Addr, s.Kind)
}

// sourcePath returns where a path source is.
func sourcePath(w *formula.Ware) string { return hostPath(w.Source.Path, w.Dir) }

// resolve finds s.id, and s.entry if it has one.
func (src *sources) resolve(ctx context.Context, s *source) (err error) {
	w := s.wares[0]
	switch w.Source.Kind {
	case formula.SourceBuiltin:
		b, err := src.builtin(w)
		if err != nil {
			return err
		}
		s.id = b.ID
		if w.Source.Filters != "" {
			s.id, err = src.putBuiltin(ctx, w, b.ID)
		}
		s.entry = LockEntry{Builtin: w.Source.Builtin, Filters: w.Source.Filters, ID: s.id}
		return err
	case formula.SourcePath:
		s.id, err = src.packs.scan(ctx, w, src.lockPath, src.report(w.Addr, PhaseScan))
		src.end(w.Addr, PhaseScan, err)
	case formula.SourceURL:
		s.entry, err = src.fetchURL(ctx, w, w.Source.SHA256)
		s.id = s.entry.ID
	case formula.SourceGit:
		s.entry, err = src.fetchGit(ctx, w, "")
		s.id = s.entry.ID
	case formula.SourceOCI:
		s.entry, err = src.fetchOCI(ctx, w, s.digest)
		s.id = s.entry.ID
	case formula.SourceText:
		s.id, err = src.packs.text(ctx, w.Source.Text, false)
	case formula.SourceID:
		err = src.resolveID(ctx, s)
	case formula.SourceCatalog:
		err = src.lookUp(s)
	}
	return err
}

// fetchURL brings w's url into the warehouse, whatever is there already.
func (src *sources) fetchURL(ctx context.Context, w *formula.Ware, sha256 string) (LockEntry, error) {
	dl, err := src.download(ctx, w, w.Source.URL, strings.ToLower(sha256))
	if err != nil {
		return LockEntry{}, err
	}
	defer dl.remove()
	id, err := src.packs.unpack(ctx, w, dl, src.report(w.Addr, PhaseUnpack))
	src.end(w.Addr, PhaseUnpack, err)
	return LockEntry{
		URL: redactURL(w.Source.URL), Strip: w.Source.Strip, Filters: w.Source.Filters,
		SHA256: dl.sha256, ID: id,
	}, err
}

// download fetches what a URL gives, for w. The caller removes it.
func (src *sources) download(ctx context.Context, w *formula.Ware, rawURL, sha256 string) (*download, error) {
	if err := offlineError(src.o.Offline, rawURL); err != nil {
		return nil, err
	}
	dir, err := src.downloadDir()
	if err != nil {
		return nil, err
	}
	d := src.downloader(dir)
	dl, err := d.get(ctx, rawURL, sha256, src.report(w.Addr, PhaseFetch))
	src.end(w.Addr, PhaseFetch, err)
	if err != nil && !errors.Is(err, ErrMismatch) {
		err = unavailableError{err}
	}
	return dl, err
}

// offlineError refuses a url that needs the network.
func offlineError(offline bool, rawURL string) error {
	if offline && !strings.HasPrefix(rawURL, "file:") {
		return unavailableError{fmt.Errorf("fetching %s needs the network, which --offline forbids", redactURL(rawURL))}
	}
	return nil
}

// downloadDir returns the directory for files being fetched. What killed kilns left in
// it is removed, once.
func (src *sources) downloadDir() (string, error) {
	dir := filepath.Join(src.o.CacheDir, "download")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	src.sweep.Do(func() { sweepDownloads(dir) })
	return dir, nil
}

func (src *sources) downloader(dir string) downloader {
	d := defaultDownloader(dir, src.o.HTTPClient, src.o.MaxDownload)
	if src.o.pause != nil {
		d.pause = src.o.pause
	}
	return d
}

// defaultDownloader makes one with the defaults for what is not set.
func defaultDownloader(dir string, client *http.Client, max int64) downloader {
	d := downloader{client: client, dir: dir, max: max, stall: stallTime, pause: pauseTimer}
	if d.client == nil {
		d.client = newHTTPClient()
	}
	if d.max == 0 {
		d.max = DefaultMaxDownload
	}
	return d
}

func (src *sources) builtin(w *formula.Ware) (Builtin, error) {
	name := w.Source.Builtin
	b, ok := src.o.Builtins[name]
	if ok {
		if b.Err != nil {
			b.Err = unavailableError{b.Err}
		}
		return b, b.Err
	}
	names := slices.Sorted(maps.Keys(src.o.Builtins))
	if near := nearest(name, names); near != "" {
		return b, fmt.Errorf("kiln has no builtin ware %q, did you mean %q?", name, near)
	}
	return b, fmt.Errorf("kiln has no builtin ware %q, it has: %s", name, strings.Join(names, ", "))
}

// unknownWares tells which of the addresses given to kiln update name nothing.
func unknownWares(f *formula.Formula, names []string) (diags hcl.Diagnostics) {
	var known []string
	for _, w := range f.Wares {
		known = append(known, w.Addr)
	}
	for _, name := range names {
		if slices.Contains(known, name) || slices.Contains(known, "ware."+name) || isPending(f, name) || isPending(f, "ware."+name) {
			continue
		}
		detail := fmt.Sprintf("There is no ware %s in this formula.", name)
		if near := nearest(name, known); near != "" {
			detail += fmt.Sprintf(" Did you mean %s?", near)
		}
		diags = append(diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: "Unknown ware", Detail: detail})
	}
	return diags
}

// isPending reports whether something is not known before calls have run.
func isPending(f *formula.Formula, addr string) bool {
	return slices.ContainsFunc(f.Pending, func(p *formula.Pending) bool { return p.Addr == addr })
}
