package git

import (
	"container/list"
	"sync"
)

// bases keeps objects that deltas were applied to lately, since most are the base
// of several.
type bases struct {
	mu    sync.Mutex
	max   int64 // bytes
	bytes int64
	at    map[baseKey]*list.Element
	used  list.List // of base, the latest first
}

// maxBases is what git gives its own such cache, core.deltaBaseCacheLimit.
const maxBases = 96 << 20

type baseKey struct {
	p   *packFile
	off int64
}

type base struct {
	key  baseKey
	kind Kind
	data []byte
}

func (b *bases) get(key baseKey) (Kind, []byte, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := b.at[key]
	if e == nil {
		return 0, nil, false
	}
	b.used.MoveToFront(e)
	v := e.Value.(*base)
	return v.kind, v.data, true
}

func (b *bases) put(key baseKey, k Kind, data []byte) {
	if int64(len(data)) > b.max/4 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.at[key] != nil {
		return
	}
	b.at[key] = b.used.PushFront(&base{key, k, data})
	for b.bytes += int64(len(data)); b.bytes > b.max; {
		old := b.used.Remove(b.used.Back()).(*base)
		delete(b.at, old.key)
		b.bytes -= int64(len(old.data))
	}
}
