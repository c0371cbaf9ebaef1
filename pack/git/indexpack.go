package git

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// maxInflated is how much the objects of one pack may come to: the largest histories
// there are stay below, and a pack made to waste time ends there.
const maxInflated = 4 << 40

// IndexPack reads the pack at path, of ids of size bytes, and writes its index to
// idx, as git index-pack does: every object in it is hashed, and those kept as deltas
// must have their base in it, or if base is not nil, base must give it: then it is
// added to the pack. It returns the pack's checksum as hex, after which git names
// packs, and how many objects it has.
func IndexPack(ctx context.Context, path, idx string, size int, base func(ID) (Kind, []byte, error)) (checksum string, objects int, err error) {
	mode := os.O_RDONLY
	if base != nil {
		mode = os.O_RDWR
	}
	f, err := os.OpenFile(path, mode, 0)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	x := &indexer{pack: &packFile{index: &index{size: size}, pack: f}, children: map[int64][]int{}, refs: map[ID][]int{}}
	sum, err := x.run(ctx, idx, base)
	if err != nil {
		return "", 0, fmt.Errorf("pack from the server: %w", err)
	}
	return hex.EncodeToString(sum), len(x.objects), nil
}

// An indexer finds out what is in a pack.
type indexer struct {
	pack     *packFile
	objects  []packed
	children map[int64][]int // deltas, by where their base begins
	mu       sync.Mutex
	refs     map[ID][]int // deltas whose base is known by id and not found yet
	inflated atomic.Int64
	done     atomic.Int64
}

// A packed is an object in a pack.
type packed struct {
	entry
	off int64
	crc uint32
	id  ID
}

func (x *indexer) run(ctx context.Context, idx string, base func(ID) (Kind, []byte, error)) ([]byte, error) {
	sum, err := x.checksum(ctx)
	if err != nil {
		return nil, err
	}
	if err := x.scan(ctx); err != nil {
		return nil, err
	}
	if err := x.resolve(ctx); err != nil {
		return nil, err
	}
	if base != nil && len(x.refs) > 0 {
		if sum, err = x.complete(ctx, base); err != nil {
			return nil, err
		}
	}
	if n := x.done.Load(); n != int64(len(x.objects)) {
		return nil, fmt.Errorf("of %d objects, %d are deltas whose base is not in it", len(x.objects), int64(len(x.objects))-n)
	}
	return sum, x.write(idx, sum)
}

// checksum compares the hash of the pack with that at its end.
func (x *indexer) checksum(ctx context.Context) ([]byte, error) {
	info, err := x.pack.pack.Stat()
	if err != nil {
		return nil, err
	}
	x.pack.end = info.Size() - int64(x.pack.size)
	if x.pack.end < packHead {
		return nil, errors.New("it is too short")
	}
	h := newHash(x.pack.size)
	if _, err := io.Copy(h, ctxReader{ctx, io.NewSectionReader(x.pack.pack, 0, x.pack.end)}); err != nil {
		return nil, err
	}
	want := make([]byte, x.pack.size)
	if _, err := x.pack.pack.ReadAt(want, x.pack.end); err != nil {
		return nil, err
	}
	got, err := sum(h)
	if err == nil && got != ID(want) {
		err = errors.New("it was damaged on its way: its checksum is wrong")
	}
	return want, err
}

type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (r ctxReader) Read(b []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(b)
}

// A counter counts what has been read from it.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n += int64(n)
	return n, err
}

// scan reads the pack from its beginning to its end: only inflating an object tells
// where the next one begins. What is no delta is hashed on the way.
func (x *indexer) scan(ctx context.Context) error {
	raw := &counter{r: io.NewSectionReader(x.pack.pack, 0, x.pack.end)}
	in := bufio.NewReaderSize(raw, 256<<10)
	var head [packHead]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return err
	}
	n, err := packCount(head)
	if err != nil {
		return err
	}
	f := &inflater{}
	buf := make([]byte, 64<<10)
	for range n {
		if err := ctx.Err(); err != nil {
			return err
		}
		off := raw.n - int64(in.Buffered())
		ahead, err := in.Peek(int(min(64, x.pack.end-off)))
		if err != nil {
			return errors.New("it has fewer objects than its header says")
		}
		o := packed{off: off}
		if o.entry, err = parseEntry(ahead, off, x.pack.size); err != nil {
			return fmt.Errorf("at byte %d: %w", off, err)
		}
		in.Discard(int(o.data - off))
		if err = x.scanObject(&o, f, in, buf); err != nil {
			return fmt.Errorf("%s at byte %d: %w", o.kind, off, err)
		}
		i := len(x.objects)
		x.objects = append(x.objects, o)
		switch o.kind {
		case ofsDelta:
			x.children[o.base] = append(x.children[o.base], i)
		case refDelta:
			x.refs[o.baseID] = append(x.refs[o.baseID], i)
		}
	}
	if end := raw.n - int64(in.Buffered()); end != x.pack.end {
		return fmt.Errorf("%d bytes follow its last object", x.pack.end-end)
	}
	return x.crcs()
}

// scanObject inflates one object from in, leaving that at the next one.
func (x *indexer) scanObject(o *packed, f *inflater, in *bufio.Reader, buf []byte) error {
	if err := f.reset(in); err != nil {
		return err
	}
	h := newHash(x.pack.size)
	hashHeader(h, o.kind, o.size)
	var n int64
	for {
		got, err := f.z.Read(buf)
		if o.kind <= Tag {
			h.Write(buf[:got])
		}
		n += int64(got)
		if x.inflated.Add(int64(got)) > maxInflated {
			return fmt.Errorf("the objects come to more than %d bytes", int64(maxInflated))
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return inflateError(err)
		}
		if n > o.size {
			break
		}
	}
	if n != o.size {
		return errors.New("its compressed data is not as long as its header says")
	}
	if o.kind > Tag {
		return nil
	}
	var err error
	o.id, err = sum(h)
	x.done.Add(1)
	return err
}

// crcs sums up each object as it lies in the pack, which an index has to have.
func (x *indexer) crcs() error {
	in := bufio.NewReaderSize(io.NewSectionReader(x.pack.pack, packHead, x.pack.end-packHead), 1<<20)
	for i := range x.objects {
		end := x.pack.end
		if i+1 < len(x.objects) {
			end = x.objects[i+1].off
		}
		h := crc32.NewIEEE()
		if _, err := io.CopyN(h, in, end-x.objects[i].off); err != nil {
			return err
		}
		x.objects[i].crc = h.Sum32()
	}
	return nil
}

// resolve makes every object that is kept as a delta, from its base down, and hashes
// it. Whole objects with deltas on them are the roots; a few are worked on at once.
func (x *indexer) resolve(ctx context.Context) error {
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i := range x.objects {
		o := &x.objects[i]
		if o.kind > Tag || inner.Err() != nil || !x.hasDeltas(o) {
			continue
		}
		g.Go(func() error {
			f := inflaters.Get().(*inflater)
			defer inflaters.Put(f)
			data, err := x.pack.inflate(o.entry, f, nil, maxDelta)
			if err == nil {
				err = x.below(inner, o, o.kind, data, f, 0)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return ctx.Err()
}

func (x *indexer) hasDeltas(o *packed) bool {
	if len(x.children[o.off]) > 0 {
		return true
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.refs[o.id]) > 0
}

// below makes the deltas on o, whose content is data.
func (x *indexer) below(ctx context.Context, o *packed, k Kind, data []byte, f *inflater, depth int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if depth > maxChain {
		return errors.New("its chains of deltas are too long")
	}
	x.mu.Lock()
	deltas := append(x.refs[o.id], x.children[o.off]...)
	delete(x.refs, o.id) // twice in the pack, an object would have them twice
	x.mu.Unlock()
	for _, i := range deltas {
		child := &x.objects[i]
		delta, err := x.pack.inflate(child.entry, f, nil, maxDelta)
		if err == nil {
			delta, err = applyDelta(data, delta, maxDelta)
		}
		if err == nil && x.inflated.Add(int64(len(delta))) > maxInflated {
			err = fmt.Errorf("the objects come to more than %d bytes", int64(maxInflated))
		}
		if err == nil {
			child.id, err = HashObject(k, delta, x.pack.size)
		}
		if err != nil {
			return fmt.Errorf("delta at byte %d: %w", child.off, err)
		}
		x.done.Add(1)
		if err := x.below(ctx, child, k, delta, f, depth+1); err != nil {
			return err
		}
	}
	return nil
}
