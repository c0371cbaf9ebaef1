package git

import (
	"bytes"
	"context"
	"errors"
	"runtime"

	"github.com/kilnbuild/kiln/pack"
	"golang.org/x/sync/errgroup"
)

const (
	// maxAhead is how large a blob may be to be read ahead, and queued how many
	// are: together they bound what that takes of memory.
	maxAhead = 1 << 20
	queued   = 64
	maxLink  = 4095 // bytes of a symlink's target, as Linux has it
)

// An item is one entry on its way into a fileset.
type item struct {
	entry   pack.Entry
	repo    *Repo
	id      ID
	done    chan struct{} // closed when what follows is set
	content bytes.Reader
	large   bool // its content is not in content
	err     error
}

// ahead reads blobs with a few workers, before they are wanted.
type ahead struct {
	ctx   context.Context
	queue chan *item // in the order of the tree
	work  chan *item
	group *errgroup.Group
	jobs  int
}

func newAhead(ctx context.Context, jobs int) *ahead {
	if jobs <= 0 {
		jobs = runtime.GOMAXPROCS(0)
	}
	a := &ahead{queue: make(chan *item, queued), work: make(chan *item, queued), jobs: jobs}
	a.group, a.ctx = errgroup.WithContext(ctx)
	return a
}

// start has produce give items to send, and ends the queue after.
func (a *ahead) start(produce func() error) {
	a.group.Go(func() error {
		defer close(a.queue)
		defer close(a.work)
		return produce()
	})
	for range a.jobs {
		a.group.Go(func() error {
			for it := range a.work {
				it.read()
				close(it.done)
			}
			return nil
		})
	}
}

func (a *ahead) wait() error { return a.group.Wait() }

var nothing = make(chan struct{})

func init() { close(nothing) }

// send queues an item; its content is read if it has an id.
func (a *ahead) send(it *item) error {
	it.done = nothing
	if it.id != "" {
		it.done = make(chan struct{})
		select {
		case a.work <- it:
		case <-a.ctx.Done():
			return a.ctx.Err()
		}
	}
	select {
	case a.queue <- it:
		return nil
	case <-a.ctx.Done():
		return a.ctx.Err()
	}
}

func (it *item) read() {
	limit := int64(maxAhead)
	if it.entry.Kind == pack.KindSymlink {
		limit = maxLink
	}
	data, err := it.repo.Objects.Read(it.id, Blob, limit)
	var large *largeError
	switch {
	case errors.As(err, &large) && it.entry.Kind == pack.KindFile:
		it.large = true
	case err != nil:
		it.err = err
	case it.entry.Kind == pack.KindSymlink:
		it.entry.Link = string(data)
		if len(data) == 0 || bytes.IndexByte(data, 0) >= 0 {
			it.err = errors.New("it is a symlink whose target is no path")
		}
	default:
		it.entry.Size = int64(len(data))
		it.content.Reset(data)
	}
}
