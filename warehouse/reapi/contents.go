package reapi

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

// A content is being read, maybe again from its beginning or from the middle.
type content interface {
	io.ReadSeeker
	io.Closer
}

type memory struct{ *bytes.Reader }

func (memory) Close() error { return nil }

func newMemory(data []byte) content { return memory{bytes.NewReader(data)} }

func readAll(ctx context.Context, d remote.Digest, open func(context.Context, remote.Digest) (content, error)) ([]byte, error) {
	c, err := open(ctx, d)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	data := make([]byte, d.Size)
	_, err = io.ReadFull(c, data)
	return data, err
}

// blobRoom is what a message says of each content beside the content, in bytes.
const blobRoom = 256

// batches parts digests, in order, so that a batch has at most limit bytes of content,
// and the message that holds it is no larger than usual. What is larger is alone.
func batches(digests []remote.Digest, limit int64) iter.Seq[[]remote.Digest] {
	return func(yield func([]remote.Digest) bool) {
		var batch []remote.Digest
		size := int64(0)
		for _, d := range digests {
			if d.Size > limit {
				if !yield([]remote.Digest{d}) {
					return
				}
				continue
			}
			if size+d.Size > limit || size+d.Size+int64(len(batch)+1)*blobRoom > batchRoom {
				if !yield(batch) {
					return
				}
				batch, size = nil, 0
			}
			batch, size = append(batch, d), size+d.Size
		}
		if len(batch) > 0 {
			yield(batch)
		}
	}
}

func sorted[V any](of map[remote.Digest]V) []remote.Digest {
	return slices.SortedFunc(maps.Keys(of), func(a, b remote.Digest) int { return cmp.Compare(a.Hash, b.Hash) })
}

// A counter tells how much has crossed, in bytes of contents. A nil one tells nobody.
type counter struct {
	mu          sync.Mutex
	done, total int64
	tell        func(done, total int64)
}

// add makes the whole larger.
func (c *counter) add(n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total += n
}

// crossed tells of n bytes more.
func (c *counter) crossed(n int64) {
	if c == nil || c.tell == nil || n == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done += n
	c.tell(c.done, c.total)
}
