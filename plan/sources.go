package plan

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/url"
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
		return fmt.Sprintf("catalog\x00%s\x00%s\x00%t", s.Catalog, w.Dir, s.Unlocked), nil
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
		s.entry, err = src.fetchURL(ctx, s)
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
		err = src.resolveCatalog(ctx, s)
	}
	return err
}

// fetchURL brings the url of s into the warehouse. s.entry is what the lock file says that
// it was; without an id there it is fetched whatever is here already, unless another kiln
// has just done that.
func (src *sources) fetchURL(ctx context.Context, s *source) (LockEntry, error) {
	w, locked, d := s.wares[0], s.entry, src.downloader()
	e := LockEntry{URL: redactURL(w.Source.URL), Strip: w.Source.Strip, Filters: w.Source.Filters}
	d.have = func(sha256 string) bool {
		have := locked
		if locked == (LockEntry{}) && !src.wantsUpdate(s) {
			have = src.madeOf(w, e, sha256)
		}
		there := !have.ID.IsZero() && src.packs.has(have.ID) == nil
		if there {
			e = have
		}
		return there
	}
	err := src.download(ctx, w, d, locked.SHA256, func(dl *download) (err error) {
		e.SHA256 = dl.sha256
		e.ID, err = src.packs.unpack(ctx, w, dl, src.report(w.Addr, PhaseUnpack))
		src.end(w.Addr, PhaseUnpack, err)
		if err == nil {
			err = src.prove(w, e)
		}
		return err
	})
	return e, err
}

// download fetches what w's url gives and calls use with it. Mirrors are tried first,
// and have to give the bytes that the formula or the lock file names.
func (src *sources) download(ctx context.Context, w *formula.Ware, d downloader, locked string, use func(*download) error) error {
	want := strings.ToLower(w.Source.SHA256)
	pin := cmp.Or(want, strings.ToLower(locked))
	places := append(slices.Clip(src.mirrorsOf(w.Source.URL, pin != "")), w.Source.URL)
	own := len(places) - 1
	failures, there, err := src.turns.take(ctx, places, func(ctx context.Context, i int) (bool, error) {
		sum := pin
		if i == own {
			sum = want
		}
		return src.downloadFrom(ctx, w, d, places[i], sum, use)
	})
	switch {
	case there:
		src.tellMirrors(w, failures)
	case ctx.Err() == nil:
		err = withMirrors(failures[own], failures[:own])
	}
	return err
}

// downloadFrom fetches w's url, or what a mirror has of it, from rawURL. If it is there,
// the error is that of use.
func (src *sources) downloadFrom(ctx context.Context, w *formula.Ware, d downloader, rawURL, sha256 string, use func(*download) error) (there bool, err error) {
	if err := offlineError(src.o.Offline, rawURL); err != nil {
		return false, err
	}
	err = d.get(ctx, rawURL, sha256, src.report(w.Addr, PhaseFetch), func(dl *download) error {
		there = true
		if u, err := url.Parse(w.Source.URL); err == nil {
			dl.name = baseName(u.Path) // whatever a mirror calls it
		}
		src.end(w.Addr, PhaseFetch, nil)
		return use(dl)
	})
	if !there {
		src.end(w.Addr, PhaseFetch, err)
	}
	return there || err == nil, err
}

// offlineError refuses a url that needs the network.
func offlineError(offline bool, rawURL string) error {
	if offline && !strings.HasPrefix(rawURL, "file:") {
		return unavailableError{fmt.Errorf("fetching %s needs the network, which --offline forbids", redactURL(rawURL))}
	}
	return nil
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
