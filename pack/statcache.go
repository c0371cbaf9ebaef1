package pack

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A StatCache remembers the content digests of files by their stat, so that a
// fileset hashed before is only read again where it has changed. Use one for each
// root and set of patterns: it forgets what the last walk has not met. It is safe
// for concurrent use, also by several processes; the last to finish is remembered.
type StatCache struct {
	file string
	now  func() time.Time
}

// OpenStatCache returns the cache kept in file, which need not exist yet; its
// directory is made when there is something to keep. A file that cannot be read as
// a cache counts as an empty one.
func OpenStatCache(file string) (*StatCache, error) {
	if file == "" {
		return nil, errors.New("open stat cache: no file named")
	}
	return &StatCache{file: file, now: time.Now}, nil
}

// racy is how old a file's last change must be for its stat to be trusted: a change
// right after the file was read could leave the same ctime, which moves in steps of
// the kernel's clock tick, 10 ms at most, or of a remote file system's clock.
const racy = time.Second

// cacheMagic begins a cache file, docs/formats.md, section 7.
const cacheMagic = "kiln stat cache 1\n"

// A cacheWalk is a cache during one walk.
type cacheWalk struct {
	c     *StatCache
	start time.Time
	known map[string]*cached
	mu    sync.Mutex
	fresh map[string]*cached
}

// cached is what is remembered of a file.
type cached struct {
	seen    seen
	sum     [sha256.Size]byte
	content *[48]byte // SHA-384, for Tar
	used    bool      // met in this walk; each entry is by one worker only
}

// begin reads the cache for a walk. A nil cache begins none.
func (c *StatCache) begin() *cacheWalk {
	if c == nil {
		return nil
	}
	data, err := os.ReadFile(c.file)
	cw := &cacheWalk{c: c, start: c.now(), fresh: map[string]*cached{}}
	if err == nil {
		cw.known = parseCache(data)
	}
	return cw
}

// get returns what is remembered of the file at rel, if its stat is the same.
func (cw *cacheWalk) get(rel string, s seen, tar bool) *cached {
	c := cw.known[rel]
	if c == nil || c.seen != s || tar && c.content == nil {
		return nil
	}
	c.used = true
	return c
}

// put remembers a file, unless it changed too short a time ago.
func (cw *cacheWalk) put(rel string, s seen, sum [sha256.Size]byte, content *[48]byte) {
	if cw == nil || time.Unix(s.ctime, s.cnse).After(cw.start.Add(-racy)) {
		return
	}
	cw.mu.Lock()
	defer cw.mu.Unlock()
	cw.fresh[rel] = &cached{seen: s, sum: sum, content: content}
}

// Up to these many files, with so many bytes, and an eighth of what is remembered, it is
// cheaper to read files anew the next time than to write all that is remembered now.
const (
	fewFiles = 32
	fewBytes = 1 << 20
)

// few reports whether what is new in a walk is not worth writing.
func (cw *cacheWalk) few() bool {
	bytes, gone := int64(0), len(cw.known)
	for _, c := range cw.fresh {
		bytes += c.seen.size
	}
	for _, c := range cw.known {
		if c.used {
			gone--
		}
	}
	return len(cw.fresh) <= fewFiles && bytes <= fewBytes && max(gone, len(cw.fresh)) <= len(cw.known)/8
}

// save writes what the walk has met, if that is not about what the file says already.
// A cache that cannot be written is no error: it is made again.
func (cw *cacheWalk) save() {
	if cw == nil || cw.few() {
		return
	}
	for rel, c := range cw.known {
		if c.used && cw.fresh[rel] == nil {
			cw.fresh[rel] = c
		} else {
			cw.start = time.Time{} // something was forgotten
		}
	}
	if len(cw.fresh) == len(cw.known) && !cw.start.IsZero() {
		return
	}
	if os.MkdirAll(filepath.Dir(cw.c.file), 0o700) != nil {
		return
	}
	tmp, err := os.CreateTemp(filepath.Dir(cw.c.file), filepath.Base(cw.c.file)+".tmp-")
	if err != nil {
		return
	}
	_, err = tmp.Write(formatCache(cw.fresh))
	if err := errors.Join(err, tmp.Close()); err != nil || os.Rename(tmp.Name(), cw.c.file) != nil {
		if err := os.Remove(tmp.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
}

func formatCache(files map[string]*cached) []byte {
	b := []byte(cacheMagic)
	b = binary.AppendUvarint(b, uint64(len(files)))
	for rel, c := range files {
		b = binary.AppendUvarint(b, uint64(len(rel)))
		b = append(b, rel...)
		b = c.seen.append(b)
		b = append(b, c.sum[:]...)
		if c.content == nil {
			b = append(b, 0)
			continue
		}
		b = append(append(b, 1), c.content[:]...)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

// parseCache reads a cache file; nil if it is none or is damaged.
func parseCache(data []byte) map[string]*cached {
	body := len(data) - sha256.Size
	if body < len(cacheMagic) || string(data[:len(cacheMagic)]) != cacheMagic {
		return nil
	}
	if sum := sha256.Sum256(data[:body]); !bytes.Equal(sum[:], data[body:]) {
		return nil
	}
	// The checksum holds, so the lengths below are those formatCache wrote.
	b := data[len(cacheMagic):body]
	count, n := binary.Uvarint(b)
	b = b[n:]
	all := string(b) // one string: the paths are parts of it
	known := make(map[string]*cached, count)
	entries := make([]cached, count)
	at := 0
	for i := range entries {
		size, n := binary.Uvarint(b[at:])
		rel := all[at+n : at+n+int(size)]
		at += n + int(size)
		c := &entries[i]
		at += c.seen.parse(b[at:])
		at += copy(c.sum[:], b[at:])
		if at++; b[at-1] == 1 {
			c.content = new([48]byte)
			at += copy(c.content[:], b[at:])
		}
		known[rel] = c
	}
	return known
}

// parse reads what append wrote and returns how many bytes that were.
func (s *seen) parse(b []byte) int {
	s.mode = binary.LittleEndian.Uint32(b)
	u := func(i int) uint64 { return binary.LittleEndian.Uint64(b[4+8*i:]) }
	s.size, s.mtime, s.mnsec, s.ctime, s.cnse, s.ino = int64(u(0)), int64(u(1)), int64(u(2)), int64(u(3)), int64(u(4)), u(5)
	return 4 + 6*8
}
