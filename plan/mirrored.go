package plan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/warehouse"
)

// Mirrors say where else things are than where the formula says. They may be asked at
// any time, from several goroutines.
type Mirrors interface {
	// OfWare returns warehouse addresses that are tried before a ware's source, and
	// before the addresses that a formula or a catalog names.
	OfWare(id warehouse.WareID) []string
	// OfModule returns such addresses for the wares of a catalog's module.
	OfModule(module string) []string
	// OfURL returns what is tried before a url, of a git repository too; of a
	// repository of images the url is oci://REGISTRY/REPOSITORY.
	OfURL(url string) []string
}

// noMirrors are those of who has none.
type noMirrors struct{}

func (noMirrors) OfWare(warehouse.WareID) []string { return nil }
func (noMirrors) OfModule(string) []string         { return nil }
func (noMirrors) OfURL(string) []string            { return nil }

// mirrorsOf returns what to try before rawURL. A mirror is believed only where it is
// known beforehand what it has to give: pinned says that it is.
func (src *sources) mirrorsOf(rawURL string, pinned bool) []string {
	if !pinned || src.o.Mirrors == nil {
		return nil
	}
	return src.o.Mirrors.OfURL(rawURL)
}

// mirrorAddrs returns the addresses of mirrors for the ware s.id.
func (src *sources) mirrorAddrs(s *source) []string {
	addrs := src.o.Mirrors.OfWare(s.id)
	for _, w := range s.wares {
		if w.Source.Kind == formula.SourceCatalog {
			module, _, _ := strings.Cut(w.Source.Catalog, ":")
			addrs = append(addrs, src.o.Mirrors.OfModule(module)...)
		}
	}
	return addrs
}

// fetchMirrored brings s from a mirror of its ware, or else from its source.
func (src *sources) fetchMirrored(ctx context.Context, s *source) error {
	var places []string
	if k := s.wares[0].Source.Kind; fetchable(s.wares[0].Source) && k != formula.SourceID && k != formula.SourceCatalog { // which ask by themselves
		places = src.o.Mirrors.OfWare(s.id)
	}
	own := len(places)
	places = append(slices.Clip(places), s.wares[0].Addr) // whose source has mirrors of its own
	failures, fetched, err := src.turns.take(ctx, places, func(ctx context.Context, i int) (bool, error) {
		fetch := src.fetchSource
		if i < own {
			fetch = func(ctx context.Context, s *source) error { return src.fetchFrom(ctx, s, places[i]) }
		}
		err := fetch(ctx, s)
		return err == nil, err
	})
	switch {
	case fetched:
		src.tellMirrors(s.wares[0], failures)
	case ctx.Err() == nil:
		err = withMirrors(failures[own], failures[:own])
	}
	return err
}

// withMirrors adds to err, which is what the source itself came to, what its mirrors
// did. What kind of error it is, the source decides: a mirror can always be left out.
func withMirrors(err error, failures []error) error {
	if len(failures) == 0 {
		return err
	}
	return fmt.Errorf("%w; of its mirrors, %v", err, joined(failures))
}

// tellMirrors warns of mirrors of w that were left out.
func (src *sources) tellMirrors(w *formula.Ware, failures []error) {
	for _, err := range failures {
		src.warnMirror(w, err)
	}
}

// warnMirror warns of a mirror that gave something else than was asked for. One that
// does not have something is nothing to tell. w, if not nil, is what it was asked for.
func (src *sources) warnMirror(w *formula.Ware, err error) {
	if !errors.Is(err, ErrMismatch) {
		return
	}
	detail := err.Error() + ". It was thrown away, and the next place asked."
	d := &hcl.Diagnostic{Summary: "Mirror gave something else", Detail: detail}
	if w != nil {
		d = wareDiag(w, d.Summary, w.Addr+": "+detail, nil)
	}
	d.Severity = hcl.DiagWarning
	src.warn(d)
}

// warn keeps a warning for takeWarnings.
func (src *sources) warn(d *hcl.Diagnostic) {
	src.warned.Lock()
	defer src.warned.Unlock()
	src.warnings = append(src.warnings, d)
}

// takeWarnings returns what is to be told of wares that are there after all, once.
func (src *sources) takeWarnings() hcl.Diagnostics {
	src.warned.Lock()
	defer src.warned.Unlock()
	diags := src.warnings
	src.warnings = nil
	return diags
}
