package pack

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A StatCache remembers the digests of files by their stat, so that a fileset hashed
// before is only read again where it has changed, and those of directories by all
// that is in them (recall.go). Use one for each root and set of options: it forgets what
// the last walk has not met. It is safe for concurrent use, also by several processes;
// the last to finish is remembered.
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
const cacheMagic = "kiln stat cache 2\n"

// A cacheWalk is a cache during one walk.
type cacheWalk struct {
	c      *StatCache
	start  time.Time
	recipe [sha256.Size]byte
	same   bool   // the file was written with this recipe
	root   []byte // its blocks
	files  int64  // of which it has the digest

	met, fresh, freshBytes atomic.Int64 // files whose digest was, and was not, remembered
	relisted               atomic.Int64 // directories that may be remembered now
	tells                  sync.Map     // device → whether directoriesTell
}

// begin reads the cache for a walk with these options. A nil cache begins none.
func (c *StatCache) begin(o *Options) *cacheWalk {
	if c == nil {
		return nil
	}
	cw := &cacheWalk{c: c, start: c.now(), recipe: o.recipe()}
	data, err := os.ReadFile(c.file)
	const head = len(cacheMagic) + sha256.Size + 8
	if err != nil || len(data) < head || string(data[:len(cacheMagic)]) != cacheMagic {
		return cw
	}
	cw.same = bytes.Equal(data[len(cacheMagic):head-8], cw.recipe[:])
	cw.files = int64(binary.LittleEndian.Uint64(data[head-8:]))
	cw.root = data[head:]
	return cw
}

// recipe hashes all but stat and content that a directory's digest comes from.
func (o *Options) recipe() [sha256.Size]byte {
	own := ""
	if o.Filters.uid.rule == mine || o.Filters.gid.rule == mine {
		own = fmt.Sprint(os.Getuid(), os.Getgid())
	}
	return sha256.Sum256(fmt.Appendf(nil, "%q %q %q %q %q", o.Packtype, o.Filters.String(), own, o.Include, o.Exclude))
}

// settled reports whether an entry last changed so long ago that its stat is trusted.
func (cw *cacheWalk) settled(st *unix.Stat_t) bool {
	return !time.Unix(st.Ctim.Unix()).After(cw.start.Add(-racy))
}

// hashed counts a file that was read.
func (cw *cacheWalk) hashed(n *node) {
	if cw != nil && n.origin != nil {
		cw.fresh.Add(1)
		cw.freshBytes.Add(n.digest.size)
	}
}

// Up to these many files, with so many bytes, and an eighth of what is remembered, it is
// cheaper to read files anew the next time than to write all that is remembered now.
const (
	fewFiles = 32
	fewBytes = 1 << 20
)

// few reports whether what is new in a walk is not worth writing.
func (cw *cacheWalk) few() bool {
	met, fresh, relisted := cw.met.Load(), cw.fresh.Load(), cw.relisted.Load()
	if !cw.same {
		return met+fresh+relisted == 0
	}
	return fresh+relisted <= fewFiles && cw.freshBytes.Load() <= fewBytes && max(cw.files-met, fresh) <= cw.files/8
}

// save writes what the walk has met, if that is not about what the file says already.
// A cache that cannot be written is no error: it is made again.
func (cw *cacheWalk) save(root *dir) {
	if cw == nil || cw.few() {
		return
	}
	data := append([]byte(cacheMagic), cw.recipe[:]...)
	data = binary.LittleEndian.AppendUint64(data, uint64(cw.met.Load()+cw.fresh.Load()))
	data = bytes.Join(append([][]byte{data}, root.blockPieces()...), nil)
	if os.MkdirAll(filepath.Dir(cw.c.file), 0o700) != nil {
		return
	}
	tmp, err := os.CreateTemp(filepath.Dir(cw.c.file), filepath.Base(cw.c.file)+".tmp-")
	if err != nil {
		return
	}
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Close()); err != nil || os.Rename(tmp.Name(), cw.c.file) != nil {
		if err := os.Remove(tmp.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return
		}
	}
}
