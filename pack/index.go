package pack

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/kilnbuild/kiln/warehouse"
)

// An Index finds files and Directory messages by their digests in a local warehouse,
// by what the records of its wares say. It is made as it is asked, and kept up to date
// by Refresh. Its methods are safe for concurrent use.
//
// It takes some 30 bytes of memory for each different file and directory, up to a
// limit: of more wares than fit into that, the newest are indexed.
type Index struct {
	l   *warehouse.Local
	max int

	refreshing sync.Mutex
	mu         sync.RWMutex
	where      *whereabouts

	openMu sync.Mutex
	open   []*indexed // used last at the end
}

// indexKey is the first half of a SHA-256: what is found is compared to all of it.
type indexKey [16]byte

// whereabouts say which wares have what.
type whereabouts struct {
	number map[warehouse.WareID]int32
	wares  []warehouse.WareID
	refs   map[indexKey]int32 // in wares
}

func newWhereabouts() *whereabouts {
	return &whereabouts{number: map[warehouse.WareID]int32{}, refs: map[indexKey]int32{}}
}

// indexed is a ware in which something was looked up.
type indexed struct {
	id    warehouse.WareID
	files *Fileset
	once  sync.Once
	err   error
	by    map[string]ListedEntry // of files
}

const (
	defaultIndex = 4_000_000 // entries, in some 120 MB
	indexOpen    = 32        // wares of which an Index remembers where each file is
)

// NewIndex returns an Index of l, of at most max files and directories; 0 stands for a
// few millions. It is empty until Refresh is called.
func NewIndex(l *warehouse.Local, max int) *Index {
	if max == 0 {
		max = defaultIndex
	}
	return &Index{l: l, max: max, where: newWhereabouts()}
}

// Refresh takes up wares that have come since the last time, and forgets those that
// have gone. A ware whose record cannot be read, or says nothing of its entries, is
// left out.
func (x *Index) Refresh(ctx context.Context) error {
	x.refreshing.Lock()
	defer x.refreshing.Unlock()
	ids, err := x.l.Newest()
	if err != nil {
		return fmt.Errorf("index the warehouse: %w", err)
	}
	to := x.where
	if to.anyGone(ids) {
		// What that ware held may be in another one too, of which nothing is known.
		// Until all is indexed anew, what is asked for is found by what was known.
		to = newWhereabouts()
	}
	for _, id := range ids {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(to.refs) >= x.max {
			break
		}
		if _, known := to.number[id]; known {
			continue
		}
		keys := indexKeys(x.l, id)
		if to == x.where {
			x.mu.Lock()
		}
		to.add(id, keys, x.max)
		if to == x.where {
			x.mu.Unlock()
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.where = to
	return nil
}

// anyGone reports whether one of the wares is none of ids.
func (w *whereabouts) anyGone(ids []warehouse.WareID) bool {
	there := make(map[warehouse.WareID]bool, len(ids))
	for _, id := range ids {
		there[id] = true
	}
	return slices.ContainsFunc(w.wares, func(id warehouse.WareID) bool { return !there[id] })
}

func (w *whereabouts) add(id warehouse.WareID, keys []indexKey, max int) {
	n := int32(len(w.wares))
	w.number[id], w.wares = n, append(w.wares, id)
	for _, k := range keys {
		if _, known := w.refs[k]; !known && len(w.refs) < max {
			w.refs[k] = n
		}
	}
}

// indexKeys returns the keys of what is in a ware.
func indexKeys(l *warehouse.Local, id warehouse.WareID) (keys []indexKey) {
	rec, err := l.Get(id)
	if err != nil || rec.Alias { // its tree is a ware too
		return nil
	}
	kept, err := l.Dirs(rec)
	if err != nil {
		return nil
	}
	list, err := newListing(kept)
	if err != nil {
		return nil
	}
	for hash, msg := range list.msgs {
		_, nodes, err := decodeDirectory(msg)
		if err != nil {
			return nil
		}
		k, _ := keyOf(hash)
		keys = append(keys, k)
		for i := range nodes {
			if n := &nodes[i]; n.meta.kind == KindFile {
				keys = append(keys, indexKey(n.digest.sum[:]))
			}
		}
	}
	return keys
}

func keyOf(hash string) (k indexKey, ok bool) {
	if len(hash) != 64 {
		return k, false
	}
	n, err := hex.Decode(k[:], []byte(hash[:2*len(k)]))
	return k, err == nil && n == len(k)
}

// Has reports whether something with this SHA-256 was there at the last Refresh.
func (x *Index) Has(hash string) bool {
	_, ok := x.Where(hash)
	return ok
}

// Where returns a ware that had something with this SHA-256 at the last Refresh.
func (x *Index) Where(hash string) (id warehouse.WareID, ok bool) {
	k, ok := keyOf(hash)
	if !ok {
		return id, false
	}
	x.mu.RLock()
	defer x.mu.RUnlock()
	n, ok := x.where.refs[k]
	if ok {
		id = x.where.wares[n]
	}
	return id, ok
}

// A Found is where something with a digest is: a Directory message, or an entry
// of a fileset, for Fileset.Open to read and verify.
type Found struct {
	Message []byte // nil for a file
	Fileset *Fileset
	Entry   ListedEntry
}

// Find looks something up by its SHA-256. The error matches warehouse.ErrMissing when
// it is not there, or no more.
func (x *Index) Find(ctx context.Context, hash string) (Found, error) {
	id, ok := x.Where(hash)
	if !ok {
		return Found{}, missingContent(hash, nil)
	}
	if !x.l.Exists(id) {
		return Found{}, missingContent(hash, fmt.Errorf("ware %s was removed", id))
	}
	w := x.ware(id)
	w.once.Do(func() { w.err = w.load(ctx, x.l) })
	if w.err != nil {
		x.drop(w)
		return Found{}, w.err
	}
	if msg, ok := w.files.msgs[hash]; ok {
		return Found{Message: msg}, nil
	}
	e, ok := w.by[hash]
	if !ok {
		return Found{}, missingContent(hash, nil)
	}
	return Found{Fileset: w.files, Entry: e}, nil
}

func missingContent(hash string, why error) error {
	return &warehouse.MissingError{What: "content " + hash, Reason: why}
}

// ware returns what is known of a ware, which is loaded by who needs it first.
func (x *Index) ware(id warehouse.WareID) *indexed {
	x.openMu.Lock()
	defer x.openMu.Unlock()
	for i, w := range x.open {
		if w.id == id {
			x.open = append(append(x.open[:i], x.open[i+1:]...), w)
			return w
		}
	}
	if len(x.open) == indexOpen {
		x.open = append(x.open[:0], x.open[1:]...)
	}
	w := &indexed{id: id}
	x.open = append(x.open, w)
	return w
}

// drop forgets a ware that could not be loaded, which may have been for a reason that
// passes.
func (x *Index) drop(w *indexed) {
	x.openMu.Lock()
	defer x.openMu.Unlock()
	for i := range x.open {
		if x.open[i] == w {
			x.open = append(x.open[:i], x.open[i+1:]...)
			return
		}
	}
}

func (w *indexed) load(ctx context.Context, l *warehouse.Local) error {
	rec, err := l.Get(w.id)
	if err != nil {
		return err
	}
	if w.files, err = OpenFileset(ctx, l, rec); err != nil {
		return err
	}
	w.by = map[string]ListedEntry{}
	root, err := w.files.Root()
	if err != nil {
		return err
	}
	for e, err := range w.files.Below(root) {
		if err != nil {
			return errors.Join(ErrCorrupt, err)
		}
		if e.Kind == KindFile {
			w.by[e.SHA256] = e
		}
	}
	return nil
}
