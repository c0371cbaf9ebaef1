package git

import (
	"bufio"
	"container/list"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	maxChain = 4095      // deltas on deltas; what git itself can write
	maxDelta = 512 << 20 // bytes of an object kept as a delta: git keeps larger ones whole
	maxSmall = 64 << 20  // bytes of a commit, tag or tree
)

// A Store reads the objects of a repository, loose and packed, and those of its
// alternates. Its methods are safe for concurrent use.
type Store struct {
	size  int      // bytes of an id
	dirs  []string // objects directories
	mu    sync.Mutex
	packs atomic.Pointer[[]*packFile]
	last  atomic.Pointer[packFile] // where the last object was
	bases bases
}

// OpenStore opens an objects directory, of ids of size bytes. The caller closes it.
func OpenStore(dir string, size int) (*Store, error) {
	s := &Store{size: size, bases: bases{max: maxBases, at: map[baseKey]*list.Element{}}}
	if err := s.addDir(dir, 0); err != nil {
		return nil, err
	}
	s.packs.Store(&[]*packFile{})
	if _, err := s.rescan(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Close closes the store's files. Nothing can be read after.
func (s *Store) Close() error {
	for _, p := range *s.packs.Load() {
		p.close()
	}
	return nil
}

// addDir adds an objects directory and its alternates, which nest up to 5 deep, as in git.
func (s *Store) addDir(dir string, depth int) error {
	if slices.Contains(s.dirs, dir) {
		return nil
	}
	if depth > 5 {
		return fmt.Errorf("alternates of %s nest too deep", s.dirs[0])
	}
	s.dirs = append(s.dirs, dir)
	f, err := os.Open(filepath.Join(dir, "info", "alternates"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		alternate := lines.Text()
		if alternate == "" || alternate[0] == '#' {
			continue
		}
		if !filepath.IsAbs(alternate) {
			alternate = filepath.Join(dir, alternate)
		}
		if err := s.addDir(filepath.Clean(alternate), depth+1); err != nil {
			return err
		}
	}
	return lines.Err()
}

// rescan looks for packs that were added since. It reports whether there are any.
func (s *Store) rescan() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := *s.packs.Load()
	packs := slices.Clone(known)
	for _, dir := range s.dirs {
		entries, err := os.ReadDir(filepath.Join(dir, "pack"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		for _, e := range entries {
			name, ok := strings.CutSuffix(filepath.Join(dir, "pack", e.Name()), ".idx")
			if !ok || slices.ContainsFunc(known, func(p *packFile) bool { return p.name == name }) {
				continue
			}
			p, err := openPack(name+".idx", s.size)
			if errors.Is(err, fs.ErrNotExist) {
				continue // being removed
			}
			if err != nil {
				return false, err
			}
			packs = append(packs, p)
		}
	}
	s.packs.Store(&packs)
	return len(packs) > len(known), nil
}

// find returns where an object is: in a pack, or loose at a path.
func (s *Store) find(id ID) (p *packFile, off int64, path string, err error) {
	if len(id) != s.size {
		return nil, 0, "", fmt.Errorf("%s: the repository has ids of %d digits", id, 2*s.size)
	}
	for again := true; ; again = false {
		if last := s.last.Load(); last != nil {
			if off, err := last.find(id); off >= 0 || err != nil {
				return last, off, "", err
			}
		}
		for _, p := range *s.packs.Load() {
			if off, err := p.find(id); off >= 0 || err != nil {
				s.last.Store(p)
				return p, off, "", err
			}
		}
		for _, dir := range s.dirs {
			path := loosePath(dir, id)
			if _, err := os.Lstat(path); err == nil {
				return nil, 0, path, nil
			}
		}
		if !again {
			return nil, 0, "", ErrMissing
		}
		// It may have been packed meanwhile.
		if more, err := s.rescan(); err != nil || !more {
			return nil, 0, "", errors.Join(ErrMissing, err)
		}
	}
}

// Has reports whether an object is there. It does not read it.
func (s *Store) Has(id ID) bool {
	_, _, _, err := s.find(id)
	return err == nil
}

// Read returns an object of the kind want, of at most limit bytes. It has been
// hashed and is what id names. The caller does not change it.
func (s *Store) Read(id ID, want Kind, limit int64) ([]byte, error) {
	k, data, err := s.read(id, limit)
	if err == nil && k != want {
		err = fmt.Errorf("it is a %s", k)
	}
	if err != nil {
		return nil, &ObjectError{want, id, err}
	}
	return data, nil
}

// ReadAny returns an object of any kind.
func (s *Store) ReadAny(id ID, limit int64) (Kind, []byte, error) { return s.read(id, limit) }

func (s *Store) read(id ID, limit int64) (k Kind, data []byte, err error) {
	p, off, path, err := s.find(id)
	switch {
	case err != nil:
		return 0, nil, err
	case p != nil:
		k, data, err = s.unpack(p, off, limit)
	default:
		k, data, err = readLoose(path, limit)
	}
	if err != nil {
		return k, nil, err
	}
	got, err := HashObject(k, data, s.size)
	if err == nil && got != id {
		err = fmt.Errorf("it is damaged: its hash is %s", got)
	}
	return k, data, err
}

// An ObjectError is about one object.
type ObjectError struct {
	Kind Kind // what it was taken for
	ID   ID
	Err  error
}

func (e *ObjectError) Error() string { return fmt.Sprintf("%s %s: %v", e.Kind, e.ID, e.Err) }

// Unwrap returns the cause.
func (e *ObjectError) Unwrap() error { return e.Err }

// unpack reads an object out of a pack, applying the deltas it is made of.
func (s *Store) unpack(p *packFile, off, limit int64) (k Kind, data []byte, err error) {
	f := inflaters.Get().(*inflater)
	defer inflaters.Put(f)
	type link struct {
		key   baseKey
		entry entry
	}
	var chain []link
	for {
		key := baseKey{p, off}
		var known bool
		if k, data, known = s.bases.get(key); known {
			break
		}
		e, ahead, err := p.entry(off, f)
		if err != nil {
			return 0, nil, err
		}
		if e.kind <= Tag {
			if k, data, err = wholeEntry(p, e, f, ahead, limit, len(chain)); err != nil {
				return k, nil, err
			}
			if len(chain) > 0 {
				s.bases.put(key, k, data)
			}
			break
		}
		if chain = append(chain, link{key, e}); len(chain) > maxChain {
			return 0, nil, errors.New("its chain of deltas is too long")
		}
		if off = e.base; e.kind == refDelta {
			if off, err = p.find(e.baseID); err != nil || off < 0 {
				return 0, nil, fmt.Errorf("it is a delta to %s, which is not in its pack", e.baseID)
			}
		}
	}
	for i := len(chain) - 1; i >= 0; i-- {
		l := chain[i]
		max := int64(maxDelta)
		if i == 0 {
			max = limit
		}
		if data, err = s.applyEntry(l.key.p, l.entry, f, data, max); err != nil {
			return k, nil, err
		}
		if i > 0 {
			s.bases.put(l.key, k, data)
		}
	}
	if int64(len(data)) > limit {
		return k, nil, &largeError{int64(len(data)), limit}
	}
	return k, data, nil
}

func wholeEntry(p *packFile, e entry, f *inflater, ahead []byte, limit int64, chain int) (Kind, []byte, error) {
	if chain > 0 {
		limit = maxDelta
	}
	data, err := p.inflate(e, f, ahead, limit)
	return e.kind, data, err
}

func (s *Store) applyEntry(p *packFile, e entry, f *inflater, base []byte, limit int64) ([]byte, error) {
	delta, err := p.inflate(e, f, nil, maxDelta)
	if err != nil {
		return nil, err
	}
	return applyDelta(base, delta, limit)
}

// begin returns the ids that begin with prefix, at least four hexadecimal digits;
// none if it is not that.
func (s *Store) begin(prefix string) ([]ID, error) {
	raw, err := hex.DecodeString(prefix + "0"[:len(prefix)%2])
	if err != nil || len(prefix) < 4 || len(raw) > s.size {
		return nil, nil
	}
	odd, found := len(prefix)%2 == 1, map[ID]bool{}
	for _, p := range *s.packs.Load() {
		if err := p.begin(raw, odd, func(id ID) { found[id] = true }); err != nil {
			return nil, err
		}
	}
	for _, dir := range s.dirs {
		entries, _ := os.ReadDir(filepath.Join(dir, prefix[:2]))
		for _, e := range entries {
			if id, err := ParseID(prefix[:2] + e.Name()); err == nil && hasPrefix([]byte(id), raw, odd) {
				found[id] = true
			}
		}
	}
	return slices.Collect(maps.Keys(found)), nil
}
