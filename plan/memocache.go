package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/kilnbuild/kiln/warehouse"
)

// memoCache (docs/formats.md, section 12) holds what the memos of one formula said when it last ran: a stat tells
// that a memo is still the same, in a tenth of the time that reading it takes.
// A memo is written by rename, so that another one has another inode or time.
type memoCache map[warehouse.StepKey]cachedMemo

type cachedMemo struct {
	stat warehouse.MemoStat
	memo warehouse.Memo
}

// cacheFrom is how many steps are worth the reading of the cache.
const cacheFrom = 64

const memoCacheTag = "kiln memos 2\n"

// get is memos.Get for what the cache has, and for what it has not.
func (c memoCache) get(memos *warehouse.Memos, key warehouse.StepKey) (*warehouse.Memo, error) {
	cached, ok := c[key]
	if ok {
		if stat, err := memos.Stat(key); err == nil && stat == cached.stat {
			return &cached.memo, nil
		}
	}
	return memos.Get(key)
}

// readMemoCache reads what writeMemoCache wrote; nil if it cannot.
func readMemoCache(path string) memoCache {
	data, err := os.ReadFile(path)
	if err != nil || len(data) < len(memoCacheTag)+sha256.Size {
		return nil
	}
	body, sum := data[:len(data)-sha256.Size], data[len(data)-sha256.Size:]
	if got := sha256.Sum256(body); !bytes.Equal(got[:], sum) || !bytes.HasPrefix(body, []byte(memoCacheTag)) {
		return nil
	}
	r := memoReader{text: string(body[len(memoCacheTag):])}
	c := make(memoCache, r.int())
	for len(r.text) > 0 && r.err == nil {
		m := r.memo()
		c[m.memo.Key] = m
	}
	if r.err != nil {
		return nil
	}
	return c
}

// encodeMemoCache reads the memos of the keys given and makes the cache's file.
func encodeMemoCache(memos *warehouse.Memos, resolved []Resolved) []byte {
	b := append([]byte(memoCacheTag), binary.AppendVarint(nil, int64(len(resolved)))...)
	for i := range resolved {
		stat, err := memos.Stat(resolved[i].Key)
		if err != nil {
			continue
		}
		memo, err := memos.Get(resolved[i].Key)
		if err != nil {
			continue
		}
		if again, err := memos.Stat(resolved[i].Key); err != nil || again != stat {
			continue // replaced while it was read
		}
		b = appendMemo(b, stat, memo)
	}
	sum := sha256.Sum256(b)
	return append(b, sum[:]...)
}

func appendMemo(b []byte, stat warehouse.MemoStat, m *warehouse.Memo) []byte {
	for _, n := range []int64{int64(stat.Inode), int64(stat.Size), stat.Mtime, stat.Ctime,
		m.Started.UnixNano(), int64(m.Duration)} {
		b = binary.AppendVarint(b, n)
	}
	for _, s := range []string{string(m.Key), m.Step, m.Isolation, m.Kiln, m.Offline, m.Origin} {
		b = appendString(b, s)
	}
	b = binary.AppendVarint(b, int64(len(m.Outputs)))
	for _, name := range slices.Sorted(maps.Keys(m.Outputs)) {
		id := m.Outputs[name]
		b = appendString(appendString(appendString(appendString(b, name), id.Packtype), id.Hash), m.Trees[name].String())
	}
	return b
}

// memoReader takes memos off text, of which the memos' strings are part.
type memoReader struct {
	text string
	err  error
}

var errCut = errors.New("memo cache: cut short")

func (r *memoReader) memo() (c cachedMemo) {
	c.stat = warehouse.MemoStat{Inode: uint64(r.int()), Size: uint64(r.int()), Mtime: r.int(), Ctime: r.int()}
	c.memo.Started = time.Unix(0, r.int()).UTC()
	c.memo.Duration = time.Duration(r.int())
	c.memo.Key = warehouse.StepKey(r.string())
	c.memo.Step, c.memo.Isolation, c.memo.Kiln = r.string(), r.string(), r.string()
	c.memo.Offline, c.memo.Origin = r.string(), r.string()
	n := r.int()
	if n < 0 || n > int64(len(r.text)) {
		r.err = errCut
		return c
	}
	c.memo.Outputs = make(map[string]warehouse.WareID, n)
	for range n {
		name := r.string()
		c.memo.Outputs[name] = warehouse.WareID{Packtype: r.string(), Hash: r.string()}
		if tree := r.string(); tree != "" {
			if c.memo.Trees == nil {
				c.memo.Trees = map[string]warehouse.WareID{}
			}
			if c.memo.Trees[name], r.err = warehouse.ParseWareID(tree); r.err != nil {
				return c
			}
		}
	}
	return c
}

func (r *memoReader) int() int64 {
	n := r.uint()
	return int64(n>>1) ^ -int64(n&1) // as binary.AppendVarint
}

func (r *memoReader) uint() (n uint64) {
	for i := 0; i < len(r.text) && i < binary.MaxVarintLen64; i++ {
		n |= uint64(r.text[i]&0x7f) << (7 * i)
		if r.text[i] < 0x80 {
			r.text = r.text[i+1:]
			return n
		}
	}
	r.err, r.text = errCut, ""
	return 0
}

func (r *memoReader) string() string {
	n := r.uint()
	if n > uint64(len(r.text)) {
		r.err, r.text = errCut, ""
		return ""
	}
	s := r.text[:n]
	r.text = r.text[n:]
	return s
}
