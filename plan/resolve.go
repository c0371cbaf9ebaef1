package plan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

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
	Update      []string           // addresses of wares to resolve anew although locked
	UpdateAll   bool
	Jobs        int            // sources resolved at once; 0: a few per core
	Progress    func(Progress) // called from one goroutine at a time; may be nil
	MaxDownload int64          // bytes of one url; 0: DefaultMaxDownload
	HTTPClient  *http.Client   // nil: one that obeys HTTP_PROXY, HTTPS_PROXY and NO_PROXY
}

// A Builtin is a ware that kiln carries with it.
type Builtin struct {
	ID  warehouse.WareID
	Put func(context.Context, *warehouse.Local) error // puts it into the warehouse; idempotent
	Err error                                         // why this kiln does not carry it after all
}

// Progress is how far one ware has come.
type Progress struct {
	Ware  string // address
	Phase Phase
	Done  int64 // bytes
	Total int64 // bytes; -1 if not known
	End   bool  // the phase has ended, with Err if not well
	Err   error
}

// A Phase is what is being done to a ware.
type Phase string

// The phases of a ware. A url is fetched, then unpacked; a path is scanned, and put
// into the warehouse when a step needs it.
const (
	PhaseScan   Phase = "scan"
	PhaseFetch  Phase = "fetch"
	PhaseUnpack Phase = "unpack"
	PhaseStore  Phase = "store"
)

// sources is what Resolve keeps of the plan's sources, for Fetch and SaveLock.
type sources struct {
	o        ResolveOptions
	packs    *packer
	byAddr   map[string]*source
	lock     lockUpdate
	lockPath string
	progress sync.Mutex
	sweep    sync.Once
}

// A source is what one or more wares name alike. It is resolved once.
type source struct {
	wares []*formula.Ware
	entry LockEntry // url, builtin: what the lock file has or will have
	id    warehouse.WareID
}

// Resolve finds the ware id of every ware of f and makes the plan. Sources are
// resolved in parallel; path sources are hashed where they lie and copied nowhere.
// A url is fetched only if the lock file does not say what it is. Resolve obeys the
// lock file and does not write it; SaveLock does. Every source that cannot be
// resolved is a diagnostic that points at it; Cause tells the errors behind.
func Resolve(ctx context.Context, f *formula.Formula, o ResolveOptions) (*Plan, hcl.Diagnostics) {
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
	jobs, err := src.group(f)
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
	if err != nil {
		return nil, hcl.Diagnostics{{Severity: hcl.DiagError, Summary: "Formula cannot be planned", Detail: err.Error() + ".", Extra: err}}
	}
	p.sources = src
	return p, nil
}

// group puts wares with the same source together, in the order of the first.
func (src *sources) group(f *formula.Formula) ([]*source, error) {
	byKey := map[string]*source{}
	var jobs []*source
	for _, w := range f.Wares {
		key, err := sourceKey(w)
		if err != nil {
			return nil, err
		}
		s := byKey[key]
		if s == nil {
			s = &source{}
			byKey[key] = s
			jobs = append(jobs, s)
		}
		s.wares = append(s.wares, w)
		src.byAddr[w.Addr] = s
	}
	return jobs, nil
}

// sourceKey is equal for wares that are bound to be the same.
func sourceKey(w *formula.Ware) (string, error) {
	s := w.Source
	switch s.Kind {
	case formula.SourceBuiltin:
		return "builtin\x00" + s.Builtin, nil
	case formula.SourcePath:
		return strings.Join([]string{"path", sourcePath(w), s.Filters,
			strings.Join(s.Include, "\x01"), strings.Join(s.Exclude, "\x01")}, "\x00"), nil
	case formula.SourceURL:
		return fmt.Sprintf("url\x00%s\x00%s\x00%d\x00%s", s.URL, strings.ToLower(s.SHA256), s.Strip, s.Filters), nil
	case formula.SourceID:
		return "id\x00" + s.ID, nil
	}
	return "", fmt.Errorf("resolve %s: unknown kind of source %q", w.Addr, s.Kind)
}

// sourcePath returns where a path source is: below the directory of the formula file, or
// where "~/" says so below the home directory. Without a home directory the path stays as
// it was written, for a message to show.
func sourcePath(w *formula.Ware) string {
	path := w.Source.Path
	if rest, ok := strings.CutPrefix(path, "~"); ok && (rest == "" || rest[0] == '/') {
		if home, err := os.UserHomeDir(); err == nil {
			path = filepath.Join(home, rest)
		}
	}
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(w.Dir, path)
}

// resolveAll resolves all sources, some at a time, and reports every failure in the
// order of the wares.
func (src *sources) resolveAll(ctx context.Context, jobs []*source, locked map[string]LockEntry) hcl.Diagnostics {
	results := make([]error, len(jobs))
	changed := make([]string, len(jobs))
	var g errgroup.Group
	g.SetLimit(src.jobs())
	for i, s := range jobs {
		if src.known(s, locked) {
			continue // most of a large formula; not worth a goroutine
		}
		g.Go(func() error {
			if results[i] = ctx.Err(); results[i] == nil {
				changed[i], results[i] = src.resolve(ctx, s, locked)
			}
			return nil
		})
	}
	g.Wait()
	var diags hcl.Diagnostics
	for i, s := range jobs {
		if results[i] != nil {
			diags = append(diags, failDiag(s.wares[0], results[i]))
			continue
		}
		if !locks(s.wares[0].Source.Kind) {
			continue
		}
		for _, w := range s.wares {
			if locked[w.Addr] == s.entry {
				continue
			}
			reason := changed[i]
			switch old, ok := locked[w.Addr]; {
			case !ok:
				reason = reasonNew
			case !old.matches(w.Source):
				reason = reasonSource
			}
			src.lock.entries[w.Addr], src.lock.reasons[w.Addr] = s.entry, reason
			src.lock.forced[w.Addr] = src.wantsUpdate(s)
			src.lock.sure = src.lock.sure && (w.Source.Kind == formula.SourceBuiltin || w.Source.SHA256 != "")
		}
	}
	if ctx.Err() != nil {
		return interrupted(ctx) // once, not for each ware
	}
	return diags
}

func (src *sources) jobs() int {
	if src.o.Jobs > 0 {
		return src.o.Jobs
	}
	return max(4, 2*runtime.NumCPU())
}

func locks(k formula.SourceKind) bool {
	return k == formula.SourceURL || k == formula.SourceBuiltin
}

// known takes over the lock file's entry for s if there is one that holds.
func (src *sources) known(s *source, locked map[string]LockEntry) bool {
	first := s.wares[0]
	if !locks(first.Source.Kind) {
		return false
	}
	// A url with a sha256 can only ever be what it is locked to.
	pinned := first.Source.Kind == formula.SourceURL && first.Source.SHA256 != ""
	if src.wantsUpdate(s) && !pinned {
		return false
	}
	for _, w := range s.wares {
		if e, ok := locked[w.Addr]; ok && e.matches(w.Source) {
			s.entry, s.id = e, e.ID
			return true
		}
	}
	return false
}

func (src *sources) wantsUpdate(s *source) bool {
	return src.o.UpdateAll || slices.ContainsFunc(s.wares, func(w *formula.Ware) bool {
		return slices.Contains(src.o.Update, w.Addr) || slices.Contains(src.o.Update, strings.TrimPrefix(w.Addr, "ware."))
	})
}

// resolve finds s.id. The reason is for the lock file, if that changes.
func (src *sources) resolve(ctx context.Context, s *source, locked map[string]LockEntry) (reason string, err error) {
	w := s.wares[0]
	reason = reasonUpdated
	switch w.Source.Kind {
	case formula.SourceBuiltin:
		b, err := src.builtin(w)
		if err != nil {
			return "", err
		}
		s.id, s.entry = b.ID, LockEntry{Builtin: w.Source.Builtin, ID: b.ID}
	case formula.SourcePath:
		s.id, err = src.packs.scan(ctx, w, src.lockPath, src.report(w.Addr, PhaseScan))
		src.end(w.Addr, PhaseScan, err)
	case formula.SourceURL:
		s.entry, err = src.fetchURL(ctx, w, w.Source.SHA256)
		s.id = s.entry.ID
	case formula.SourceID:
		if s.id, err = warehouse.ParseWareID(w.Source.ID); err == nil {
			err = src.packs.has(s.id)
		}
	}
	return reason, err
}

// fetchURL brings w's url into the warehouse, whatever is there already.
func (src *sources) fetchURL(ctx context.Context, w *formula.Ware, sha256 string) (LockEntry, error) {
	if src.o.Offline && !strings.HasPrefix(w.Source.URL, "file:") {
		return LockEntry{}, unavailableError{fmt.Errorf("fetching %s needs the network, which --offline forbids", redactURL(w.Source.URL))}
	}
	dir := filepath.Join(src.o.CacheDir, "download")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return LockEntry{}, err
	}
	src.sweep.Do(func() { sweepDownloads(dir) })
	d := &downloader{client: src.o.HTTPClient, dir: dir, max: src.o.MaxDownload, stall: stallTime, pause: pauseTimer}
	if d.client == nil {
		d.client = newHTTPClient()
	}
	if d.max == 0 {
		d.max = DefaultMaxDownload
	}
	dl, err := d.get(ctx, w.Source.URL, strings.ToLower(sha256), src.report(w.Addr, PhaseFetch))
	src.end(w.Addr, PhaseFetch, err)
	if err != nil {
		if !errors.Is(err, ErrMismatch) {
			err = unavailableError{err}
		}
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

// report makes the progress function of one phase of one ware.
func (src *sources) report(addr string, phase Phase) progressFunc {
	if src.o.Progress == nil {
		return nil
	}
	return func(done, total int64) { src.send(Progress{Ware: addr, Phase: phase, Done: done, Total: total}) }
}

func (src *sources) end(addr string, phase Phase, err error) {
	src.send(Progress{Ware: addr, Phase: phase, Total: -1, End: true, Err: err})
}

func (src *sources) send(p Progress) {
	if src.o.Progress != nil {
		src.progress.Lock()
		defer src.progress.Unlock()
		src.o.Progress(p)
	}
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
		if slices.Contains(known, name) || slices.Contains(known, "ware."+name) {
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
