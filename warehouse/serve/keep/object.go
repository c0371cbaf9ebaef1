package keep

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// An Object is being read. Evicting it does not disturb that. Who opened it closes it.
type Object struct {
	*os.File
	Bytes   int64 // of content
	Checked bool  // its content has been seen to be right
	store   *Store
	entry   *entry
}

// Has reports whether the object is there, and how many bytes it has. Asking counts as
// use: who is told that it is there will not hand it in.
func (s *Store) Has(sum Sum) (int64, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.lookUp(key{objects, sum})
	if e == nil {
		return 0, false
	}
	return e.bytes, true
}

// Open opens an object. The error matches ErrMissing when it is not there.
func (s *Store) Open(sum Sum) (*Object, error) {
	s.mu.Lock()
	e := s.lookUp(key{objects, sum})
	var o Object
	if e != nil {
		o = Object{Bytes: e.bytes, Checked: e.checked, store: s, entry: e}
	}
	s.mu.Unlock()
	if e == nil {
		return nil, ErrMissing
	}
	var err error
	if o.File, err = s.openFile(e); err != nil {
		return nil, err
	}
	return &o, nil
}

// Good says that the caller has read the content and that it is right; Bad that it
// is not: the object is removed.
func (o *Object) Good() {
	o.store.mu.Lock()
	o.entry.checked = true
	o.store.mu.Unlock()
}

// Bad says that the content is not what its digest says: the object is removed.
func (o *Object) Bad() { o.store.forget(o.entry) }

// A Writer is an object that is being handed in. Who made it ends it with Commit or
// Abort.
type Writer struct {
	store   *Store
	f       *os.File
	hash    hash.Hash
	size    int64 // bytes there will be, -1: not known
	n       int64 // bytes written
	pledged int64
	err     error
	ended   bool
}

// Create begins an object of size bytes; -1 if that is not known: then room is made as
// it is written. The error matches ErrFull.
func (s *Store) Create(size int64) (*Writer, error) {
	pledged := room(max(size, 0))
	if err := s.pledge(pledged); err != nil {
		return nil, err
	}
	s.mu.Lock()
	path := s.tempPath()
	s.mu.Unlock()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		s.unpledge(pledged)
		return nil, noRoom(err)
	}
	return &Writer{store: s, f: f, hash: sha256.New(), size: size, pledged: pledged}, nil
}

// ahead is how much room a writer asks for at a time that was not told the size.
const ahead = 8 << 20

// Write appends to the object. The error matches ErrFull, or ErrMismatch if that makes
// it larger than it was to be.
func (w *Writer) Write(p []byte) (int, error) {
	if w.err == nil && w.size >= 0 && w.n+int64(len(p)) > w.size {
		w.err = ErrMismatch
	}
	if w.err != nil {
		return 0, w.err
	}
	if more := room(w.n+int64(len(p))) - w.pledged; more > 0 {
		more = max(more, min(ahead, w.store.max/20))
		if w.err = w.store.pledge(more); w.err != nil {
			return 0, w.err
		}
		w.pledged += more
	}
	n, err := w.f.Write(p)
	w.n += int64(n)
	w.hash.Write(p[:n])
	w.err = noRoom(err)
	return n, w.err
}

// Written returns how many bytes were written.
func (w *Writer) Written() int64 { return w.n }

// Sum returns the SHA-256 of what was written.
func (w *Writer) Sum() Sum { return Sum(w.hash.Sum(nil)) }

// Commit makes what was written an object, if it has that sum and size; else the error
// matches ErrMismatch. It is idempotent: of several, the first one stays. What has a name
// is whole on disk, also after a power cut; callers that have several to commit do so at
// once, and file systems then flush many as fast as one.
func (w *Writer) Commit(sum Sum, size int64) error {
	if w.err == nil && (w.n != size || w.Sum() != sum) {
		w.err = ErrMismatch
	}
	if w.err == nil {
		w.err = noRoom(errors.Join(w.f.Sync(), w.f.Close()))
	}
	if w.err == nil {
		w.err = w.store.place(w.f.Name(), &entry{key: key{objects, sum}, bytes: w.n, checked: true}, w.pledged)
	}
	if w.err == nil {
		w.ended = true
		return nil
	}
	w.end()
	return w.err
}

// Abort ends it, and nothing is kept.
func (w *Writer) Abort() {
	w.f.Close()
	w.end()
}

func (w *Writer) end() {
	if !w.ended {
		w.ended = true
		_ = os.Remove(w.f.Name()) // or the next start does
		w.store.unpledge(w.pledged)
	}
}

// place gives a file that was written aside its name, in place of one that is there. The
// room pledged for it is then its own.
func (s *Store) place(temp string, e *entry, pledged int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	path := s.path(e.key)
	err := os.Rename(temp, path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = s.makeShard(filepath.Dir(path)); err == nil {
			err = os.Rename(temp, path)
		}
	}
	if err != nil {
		return noRoom(err)
	}
	if old := s.there[e.key]; old != nil {
		s.unlink(old)
		s.used -= room(old.bytes)
	}
	e.stamped = time.Now().Unix()
	s.add(e)
	s.pledged -= pledged
	return nil
}

// makeShard makes a directory of entries, to stay.
func (s *Store) makeShard(dir string) error {
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = errors.Join(flush(filepath.Dir(dir)), flush(s.dir))
	}
	return err
}
