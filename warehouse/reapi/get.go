package reapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

// Get builds a ware of what its Directory messages say. Files that are in wares that
// are here are copied, if they still are what they should be; the others are fetched.
func (s *store) Get(ctx context.Context, id warehouse.WareID, local *warehouse.Local, o warehouse.Transfer) (warehouse.Record, error) {
	rec, err := local.Get(id)
	if errors.Is(err, warehouse.ErrMissing) {
		rec, err = s.get(ctx, id, local, o)
	}
	if err != nil {
		return warehouse.Record{}, fmt.Errorf("fetch ware %s from %s: %w", id, s, err)
	}
	return rec, nil
}

func (s *store) get(ctx context.Context, id warehouse.WareID, local *warehouse.Local, o warehouse.Transfer) (rec warehouse.Record, err error) {
	if err := check(id); err != nil {
		return rec, err
	}
	list, err := s.listing(ctx, id, nil)
	if lost := (*lostError)(nil); errors.As(err, &lost) {
		err = &warehouse.MissingError{What: "ware " + id.String(), Reason: err}
	}
	if err != nil {
		return rec, err
	}
	entries, size, err := list.Size()
	switch {
	case err != nil:
		return rec, fmt.Errorf("%w: %w", warehouse.ErrMismatch, err)
	case entries > pack.DefaultMaxEntries:
		return rec, fmt.Errorf("it has %d entries, more than the %d allowed", entries, pack.DefaultMaxEntries)
	case size > pack.DefaultMaxBytes:
		return rec, fmt.Errorf("its files have %d bytes, more than the %d allowed", size, int64(pack.DefaultMaxBytes))
	}
	b, err := pack.NewBuilder(ctx, local, pack.BuildOptions{
		Options: pack.Options{Packtype: id.Packtype, Filters: pack.KeepFilters()},
		Name:    "the tree", Want: id, RootFile: true, MaxBytes: -1, MaxEntries: -1,
	})
	if err != nil {
		return rec, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	d := &download{s: s, id: id, b: b, list: list, local: local, dir: o.CacheDir, count: &counter{tell: o.Progress}}
	if d.dir != "" && size >= minJournal {
		if d.came, err = openJournal(d.dir, id); err != nil {
			return rec, err
		}
	}
	if err = d.run(ctx, size); err == nil {
		rec, err = b.Commit()
	}
	if err == nil {
		err = d.removeParts()
	}
	return rec, errors.Join(err, d.came.end(err == nil || errors.Is(err, warehouse.ErrMismatch)))
}

// A download is a ware on its way from a server.
type download struct {
	s     *store
	id    warehouse.WareID
	b     *pack.Builder
	list  *pack.Listing
	local *warehouse.Local
	dir   string // for parts; "": the local warehouse's own
	count *counter

	able   abilities
	wanted map[remote.Digest][]pack.ListedEntry // by content
	order  []remote.Digest                      // of contents, by path
	known  *pack.Index                          // of wares that are here; nil: it is not worth while
	came   *journal                             // of contents that are not spooled
	mu     sync.Mutex
	parts  []string // paths of contents that are, and are whole
}

// indexing is how large the files of a ware must be together for it to be worth while
// to look for them in others.
const indexing = 256 << 10

func (d *download) run(ctx context.Context, size int64) (err error) {
	if d.able, err = d.s.abilities(ctx); err != nil {
		return err
	}
	if err := d.plant(); err != nil {
		return err
	}
	if size >= indexing {
		if d.known, err = d.s.index(ctx, d.local); err != nil {
			return err
		}
	}
	here, away := d.split()
	more, err := d.fetch(ctx, away, here)
	if err == nil {
		_, err = d.fetch(ctx, more, nil)
	}
	return err
}

// split parts what is wanted by whether it seems to be here.
func (d *download) split() (here, away []remote.Digest) {
	for _, c := range d.order {
		if d.known != nil && d.known.Has(c.Hash) || d.came.has(c) {
			here = append(here, c)
		} else {
			away = append(away, c)
		}
	}
	return here, away
}

// plant adds all that is no file with content, and sorts the rest by content.
func (d *download) plant() error {
	d.wanted = map[remote.Digest][]pack.ListedEntry{}
	root, err := d.list.Root()
	if err != nil {
		return fmt.Errorf("%w: %w", warehouse.ErrMismatch, err)
	}
	for e, err := range d.list.Below(root) {
		if err != nil {
			return fmt.Errorf("%w: %w", warehouse.ErrMismatch, err)
		}
		if e.Kind != pack.KindFile || e.Size == 0 {
			if err := d.add(e, strings.NewReader("")); err != nil {
				return err
			}
			continue
		}
		c := remote.Digest{Hash: e.SHA256, Size: e.Size}
		if d.wanted[c] == nil {
			d.order = append(d.order, c)
		}
		d.wanted[c] = append(d.wanted[c], e)
	}
	return nil
}

// add adds an entry. What is wrong with it is the server's fault, unless it is this
// machine's.
func (d *download) add(e pack.ListedEntry, content io.Reader) error {
	err := d.b.Add(&e.Entry, content)
	var errno unix.Errno
	if err == nil || errors.As(err, &errno) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", warehouse.ErrMismatch, err)
}

// index returns what is known of local's wares.
func (s *store) index(ctx context.Context, local *warehouse.Local) (*pack.Index, error) {
	s.mu.Lock()
	x := s.indexes[local.Dir()]
	if x == nil {
		x = pack.NewIndex(local, maxIndex)
		s.indexes[local.Dir()] = x
	}
	s.mu.Unlock()
	return x, x.Refresh(ctx)
}

const maxIndex = 1_000_000 // files and directories: of the newest wares

// take adds files from other wares, and what came before this process, and returns the
// contents that are not there after all: removed since, or damaged.
func (d *download) take(ctx context.Context, here []remote.Digest) (more []remote.Digest, err error) {
	for _, c := range here {
		from, ok := d.open(ctx, c)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !ok {
			more = append(more, c)
			continue
		}
		if err := errors.Join(d.place(c, from), from.Close()); err != nil {
			return nil, err
		}
	}
	return more, nil
}

// open opens a content that is here, after it was read and found right.
func (d *download) open(ctx context.Context, c remote.Digest) (content, bool) {
	if data, ok := d.came.get(c); ok {
		return newMemory(data), true
	}
	if d.known == nil {
		return nil, false
	}
	found, err := d.known.Find(ctx, c.Hash)
	if err != nil || found.Fileset == nil || found.Entry.Size != c.Size {
		return nil, false
	}
	f, err := found.Fileset.Open(ctx, found.Entry)
	return f, err == nil
}

// place adds the files that have a content.
func (d *download) place(c remote.Digest, from io.ReadSeeker) error {
	for _, e := range d.wanted[c] {
		if _, err := from.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if err := d.add(e, from); err != nil {
			return err
		}
	}
	return nil
}

// An arrival is some contents that have come, verified.
type arrival struct {
	digests []remote.Digest
	open    func(i int) (content, error)
	close   func() error
}

// fetch gets contents, some at a time, and adds them as they come; and meanwhile those
// that are here. It returns which of the latter were not.
func (d *download) fetch(ctx context.Context, away, here []remote.Digest) (more []remote.Digest, err error) {
	for _, c := range away {
		d.count.add(c.Size)
	}
	g, ctx := errgroup.WithContext(ctx)
	arrived := make(chan arrival)
	g.Go(func() error {
		defer close(arrived)
		fetchers, ctx := errgroup.WithContext(ctx)
		fetchers.SetLimit(sending)
		for batch := range batches(away, d.able.batch) {
			if ctx.Err() != nil {
				break
			}
			fetchers.Go(func() error {
				a, err := d.receive(ctx, batch)
				if err != nil {
					return err
				}
				select {
				case arrived <- a:
					return nil
				case <-ctx.Done():
					return errors.Join(context.Cause(ctx), a.close())
				}
			})
		}
		return fetchers.Wait()
	})
	g.Go(func() (err error) {
		if more, err = d.take(ctx, here); err != nil {
			return err
		}
		for a := range arrived {
			if err := d.arrived(a); err != nil {
				return err
			}
		}
		return nil
	})
	return more, d.missing(g.Wait())
}

func (d *download) arrived(a arrival) (err error) {
	defer func() { err = errors.Join(err, a.close()) }()
	for i, c := range a.digests {
		from, err := a.open(i)
		if err == nil {
			err = errors.Join(d.place(c, from), from.Close())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// receive gets a batch, or one large content.
func (d *download) receive(ctx context.Context, batch []remote.Digest) (arrival, error) {
	if len(batch) == 1 && batch[0].Size > inMemory {
		return d.spool(ctx, batch[0])
	}
	var contents [][]byte
	var err error
	if len(batch) == 1 && batch[0].Size > d.able.batch {
		var b buffer
		b.Grow(int(batch[0].Size) + bytes.MinRead)
		err = d.s.readStream(ctx, d.able, batch[0], &b, d.count)
		contents = [][]byte{b.Bytes()}
	} else {
		contents, err = d.s.readBatch(ctx, d.able, batch, d.count)
	}
	for i := 0; i < len(batch) && err == nil; i++ {
		err = d.came.put(batch[i], contents[i])
	}
	return arrival{batch, func(i int) (content, error) { return newMemory(contents[i]), nil }, func() error { return nil }}, err
}

// inMemory is up to what size, in bytes, a content is not written to disk before it is
// verified. As many of them as are sent at a time are in memory, and one more.
const inMemory = 8 << 20

// missing says of which files the content is missing.
func (d *download) missing(err error) error {
	var lost *lostError
	if !errors.As(err, &lost) {
		return err
	}
	at := d.wanted[lost.digests[0]][0].Path
	return &warehouse.MissingError{What: "ware " + d.id.String(),
		Reason: fmt.Errorf("the server has lost a part of it: the content of %q, %s", at, lost.digests[0])}
}
