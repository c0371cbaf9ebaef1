package plan

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/hcl/v2"
	"github.com/kilnbuild/kiln/formula"
	"github.com/kilnbuild/kiln/warehouse"
	"golang.org/x/sync/errgroup"
)

// ResolveOptions says where sources are resolved and how.
type ResolveOptions struct {
	Warehouse   *warehouse.Local
	CacheDir    string             // an existing directory, for what can be made again
	LockPath    string             // "": LockName in the formula's directory
	Builtins    map[string]Builtin // by name
	Offline     bool               // what would need the network is an error
	Shared      Shared             // asked for a ware before its source is; nil: Alone
	Mirrors     Mirrors            // nil: none
	Update      []string           // addresses of wares to resolve anew although locked
	UpdateAll   bool
	Jobs        int            // sources resolved at once; 0: a few per core
	Progress    func(Progress) // called from one goroutine at a time; may be nil
	MaxDownload int64          // bytes of one url; 0: DefaultMaxDownload
	HTTPClient  *http.Client   // nil: one that obeys HTTP_PROXY, HTTPS_PROXY and NO_PROXY

	pause func(context.Context, time.Duration) error // between tries; nil: it sleeps
}

// A Builtin is a ware that kiln carries with it.
type Builtin struct {
	ID  warehouse.WareID
	Put func(context.Context, *warehouse.Local) error // puts it into the warehouse; idempotent
	Err error                                         // why this kiln does not carry it after all
}

// sources is what Resolve keeps of the plan's sources, for Fetch and SaveLock.
type sources struct {
	o        ResolveOptions
	packs    *packer
	byAddr   map[string]*source
	lock     lockUpdate
	lockPath string
	progress sync.Mutex
	warned   sync.Mutex
	warnings hcl.Diagnostics
	spaces   sync.Map // workspace.Set by directory

	turns      turns
	registries sync.Map // by repository: what has been found out of each
}

// A source is what one or more wares name alike. It is resolved once.
type source struct {
	wares []*formula.Ware
	entry LockEntry // of what is locked: what the lock file has or will have
	id    warehouse.WareID
	// digest, of an image that is resolved anew for another platform or with other
	// filters, is what its reference was locked to before; "" to ask again.
	digest  string
	mirrors []string // catalog: warehouse addresses that its module's mirrors name
}

// Resolve finds the ware id of every ware of f and makes the plan. Sources are
// resolved in parallel; path sources are hashed where they lie and copied nowhere.
// A url is fetched only if the lock file does not say what it is. Resolve obeys the
// lock file and does not write it; SaveLock does. Every source that cannot be
// resolved is a diagnostic that points at it; Cause tells the errors behind. With a plan
// there may be warnings.
func Resolve(ctx context.Context, f *formula.Formula, o ResolveOptions) (*Plan, hcl.Diagnostics) {
	if o.Shared == nil {
		o.Shared = Alone{}
	}
	if o.Mirrors == nil {
		o.Mirrors = noMirrors{}
	}
	src := &sources{o: o, byAddr: map[string]*source{}, lockPath: o.LockPath}
	if src.lockPath == "" {
		src.lockPath = filepath.Join(f.Dir, LockName)
	}
	lock, lockSrc, diags := readLock(src.lockPath)
	if lockSrc != nil && f.Sources != nil {
		f.Sources[src.lockPath] = lockSrc
	}
	if diags.HasErrors() {
		return nil, diags
	}
	if unknown := unknownWares(f, o.Update); unknown != nil {
		return nil, unknown
	}
	src.lock = lockUpdate{entries: map[string]LockEntry{}, reasons: map[string]string{}, forced: map[string]bool{}, sure: true}
	src.packs = &packer{o}
	jobs, err := src.group(f, lock.entries)
	if err != nil {
		return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Cannot resolve wares", Detail: err.Error() + ".", Extra: err}}
	}
	if diags := src.resolveAll(ctx, jobs, lock.entries); diags.HasErrors() {
		return nil, diags
	}
	wares := make(map[string]warehouse.WareID, len(f.Wares))
	for _, s := range jobs {
		for _, w := range s.wares {
			wares[w.Addr] = s.id
		}
	}
	p, err := New(f, wares)
	if at := (*inputError)(nil); errors.As(err, &at) {
		return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Invalid filters", Detail: err.Error() + ".", Subject: at.in.Range.Ptr(), Extra: err}}
	}
	if err != nil {
		return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Formula cannot be planned", Detail: err.Error() + ".", Extra: err}}
	}
	p.sources = src
	return p, src.takeWarnings()
}

// group puts wares with the same source together, in the order of the first. Wares
// that the lock file holds apart stay apart; one without an entry joins the others.
func (src *sources) group(f *formula.Formula, locked map[string]LockEntry) ([]*source, error) {
	first, exact := map[string]*source{}, map[string]*source{}
	var all []*source
	for _, pass := range []bool{true, false} {
		for _, w := range f.Wares {
			e := locked[w.Addr]
			if e.matches(w.Source) != pass {
				continue
			}
			key, err := sourceKey(w)
			if err != nil {
				return nil, err
			}
			s := first[key]
			if pass {
				s = exact[key+"\x00"+e.ID.String()]
			}
			if s == nil {
				s = &source{}
				all = append(all, s)
				exact[key+"\x00"+e.ID.String()] = s
			}
			if first[key] == nil {
				first[key] = s
			}
			s.wares = append(s.wares, w)
			src.byAddr[w.Addr] = s
		}
	}
	slices.SortStableFunc(all, func(a, b *source) int { return strings.Compare(a.wares[0].Addr, b.wares[0].Addr) })
	return all, nil
}

// resolveAll resolves all sources, some at a time, and reports every failure in the
// order of the wares.
func (src *sources) resolveAll(ctx context.Context, jobs []*source, locked map[string]LockEntry) hcl.Diagnostics {
	results := make([]error, len(jobs))
	var g errgroup.Group
	g.SetLimit(src.jobs())
	for i, s := range jobs {
		if src.known(s, locked) {
			_, results[i] = src.proven(s)
			continue // most of a large formula; not worth a goroutine
		}
		g.Go(func() error {
			if results[i] = ctx.Err(); results[i] == nil {
				results[i] = src.resolve(ctx, s)
			}
			return nil
		})
	}
	g.Wait()
	if ctx.Err() != nil {
		return interrupted(ctx) // once, not for each ware
	}
	var diags hcl.Diagnostics
	for i, s := range jobs {
		if results[i] != nil {
			diags = append(diags, failDiag(s.wares[0], results[i]))
		} else if locks(s.wares[0].Source) {
			src.relock(s, locked)
		}
	}
	return diags
}

// relock notes what the lock file does not say yet of a source that was resolved.
func (src *sources) relock(s *source, locked map[string]LockEntry) {
	for _, w := range s.wares {
		old, ok := locked[w.Addr]
		reason := reasonUpdated
		switch {
		case old == s.entry:
			continue
		case !ok:
			reason = reasonNew
		case !old.matches(w.Source):
			reason = reasonSource
		}
		src.lock.entries[w.Addr], src.lock.reasons[w.Addr] = s.entry, reason
		src.lock.forced[w.Addr] = src.wantsUpdate(s)
		src.lock.sure = src.lock.sure && (w.Source.Kind == formula.SourceBuiltin || w.Source.Kind == formula.SourceCatalog || w.Source.SHA256 != "" || pinnedGit(w.Source))
	}
}

func (src *sources) jobs() int {
	if src.o.Jobs > 0 {
		return src.o.Jobs
	}
	return max(4, 2*runtime.NumCPU())
}

// locks reports whether what a source resolves to is kept in the lock file.
func locks(s formula.Source) bool {
	return s.Kind == formula.SourceURL || s.Kind == formula.SourceBuiltin || s.Kind == formula.SourceOCI ||
		(s.Kind == formula.SourceGit || s.Kind == formula.SourceCatalog) && !s.Unlocked || lockedID(s)
}

// pinned reports whether a source can only ever be what it is locked to.
func pinned(s formula.Source) bool {
	return s.Kind == formula.SourceURL && s.SHA256 != "" || pinnedGit(s) || pinnedOCI(s)
}

// known takes over the lock file's entry for s if there is one that holds.
func (src *sources) known(s *source, locked map[string]LockEntry) bool {
	first := s.wares[0]
	if !locks(first.Source) {
		return false
	}
	// A commit that is looked up again may mend an entry that was edited; it costs no
	// request if it is in the cache.
	if src.wantsUpdate(s) && (!pinned(first.Source) || first.Source.Kind == formula.SourceGit) {
		return false
	}
	for _, w := range s.wares {
		if e, ok := locked[w.Addr]; ok && e.matches(w.Source) {
			s.entry, s.id = e, e.ID
			if src.wantsUpdate(s) && src.doubtful(s) {
				s.entry, s.id = LockEntry{}, warehouse.WareID{}
				return false
			}
			return first.Source.Kind != formula.SourceID && first.Source.Kind != formula.SourceCatalog // which are held against the warehouse
		} else if ok && e.OCI != "" && e.OCI == w.Source.OCI {
			s.digest = e.Digest
		}
	}
	return false
}

// doubtful reports whether the entry of a source that can only be one ware has to be
// found out again: it is known to be wrong, or was asked for and is not known to be right.
func (src *sources) doubtful(s *source) bool {
	known, err := src.proven(s)
	return err != nil || !known && src.asksFor(s)
}

func (src *sources) wantsUpdate(s *source) bool { return src.o.UpdateAll || src.asksFor(s) }

// asksFor reports whether s is among the wares that are to be resolved anew by name.
func (src *sources) asksFor(s *source) bool {
	return slices.ContainsFunc(s.wares, func(w *formula.Ware) bool {
		return slices.Contains(src.o.Update, w.Addr) || slices.Contains(src.o.Update, strings.TrimPrefix(w.Addr, "ware."))
	})
}
