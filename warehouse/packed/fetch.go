package packed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/warehouse"
)

const (
	// worthKeeping is from how many bytes on a part of an object is kept for the next
	// kiln: less is fetched faster than it is found.
	worthKeeping = 64 << 10
	// movesOn is how many bytes between failures show that a place is only slow or
	// unreliable, so that it is given as many tries again.
	movesOn = 1 << 20
	// maxRestarts is how often an object may have become another while it was read.
	maxRestarts = 3
)

// A Fetch brings one object into a file, and lets it be used while it comes. What has
// come stays when the process is killed, and the next Fetch with its Key goes on from
// there, from wherever it fetches; of several at once, one fetches and the others wait.
type Fetch struct {
	// Open begins to read the object, as Objects.Open does. It tries again by itself.
	Open func(ctx context.Context, offset int64, version string) (*Object, error)
	From string // what Open reads: URLs of two places differ
	Key  string // what is fetched: equal for equal bytes
	Dir  string // for parts, shared with other processes; made if need be
	Max  int64  // bytes; 0: no limit
	// Proven says that who uses the bytes finds out whether they are the right ones, so
	// that parts from several places, or of no known version, may be put together.
	Proven bool
	// Have, if not nil, is asked when other processes no longer fetch the object: true
	// says that it is not needed any more. Nothing is used then. Note is what the one that
	// was waited for has left (Incoming.Leave); "" if nobody was, or it failed.
	Have     func(note string) bool
	Retry    retry.Policy            // for reading that breaks off
	Progress func(done, total int64) // as in warehouse.Transfer
}

// Do fetches and calls use while the bytes come. If use returns an error that matches
// warehouse.ErrMismatch, what was fetched is thrown away; if it was put together of
// parts, all is fetched again, once, and used again. An error in fetching comes before one of
// use.
func (f *Fetch) Do(ctx context.Context, use func(*Incoming) error) error {
	p, err := openPartial(ctx, f.Dir, f.Key)
	if err != nil {
		return err
	}
	defer p.close()
	if f.Have != nil && f.Have(p.note) {
		p.remove()
		return nil
	}
	p.note = ""
	for restarts := 0; ; restarts++ {
		used := false
		pieced, err := f.once(ctx, p, func(in *Incoming) error {
			err := use(in)
			used = in.failed() == nil
			return err
		})
		switch {
		case err == nil:
			p.remove()
			return nil
		case errors.Is(err, errOther) && restarts < maxRestarts:
		case errors.Is(err, warehouse.ErrMismatch) && pieced && restarts < maxRestarts:
			restarts = maxRestarts // the last time
			if err := p.reset(origin{}); err != nil {
				return err
			}
		default:
			p.note = ""
			if p.have < worthKeeping || used && !f.Proven || errors.Is(err, warehouse.ErrMismatch) || errors.Is(err, errTooLarge) || noSpace(err) {
				p.remove()
			}
			return err
		}
	}
}

// noSpace reports whether err says that there is no room: what is kept would take it.
func noSpace(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// once fetches what is missing of p and uses all. pieced tells whether that was put
// together of parts.
func (f *Fetch) once(ctx context.Context, p *partial, use func(*Incoming) error) (pieced bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in := newIncoming(p, !f.Proven)
	r := receiver{f, p, in, false}
	var receiving sync.WaitGroup
	receiving.Go(func() { in.end(r.run(ctx)) })
	err = use(in)
	failed := in.failed() // while it was used; from here on it may be because that ended
	cancel()
	receiving.Wait()
	if err != nil && failed != nil {
		err = failed
	}
	return r.pieced, err
}

var (
	errOther    = errors.New("it has changed while it was fetched")
	errTooLarge = errors.New("too large")
)

// A receiver writes into p what comes.
type receiver struct {
	*Fetch
	p      *partial
	in     *Incoming
	pieced bool
}

func (r *receiver) run(ctx context.Context) error {
	for {
		before := r.p.have
		err := r.Retry.Do(ctx, func() error { return r.read(ctx) })
		inVain := retry.IsFinal(err) || r.p.have-before < movesOn || retry.IsHurried(ctx) && retry.Later(err)
		if err == nil || inVain || ctx.Err() != nil {
			return err
		}
	}
}

// read reads on from where p ends.
func (r *receiver) read(ctx context.Context) error {
	offset, version := r.resumeAt()
	o, err := r.Open(ctx, offset, version)
	if err != nil {
		return retry.Final(err)
	}
	defer o.Close()
	if r.Max > 0 && o.Size > r.Max {
		return retry.Final(fmt.Errorf("%w: %d bytes are more than the limit of %d", errTooLarge, o.Size, r.Max))
	}
	skip, err := r.accept(o)
	r.in.setType(o.Type)
	if err != nil {
		return err
	}
	if skip > 0 {
		if _, err := io.CopyN(io.Discard, o, skip); err != nil {
			return brokeOff(skip, err)
		}
	}
	return r.copy(o)
}

// resumeAt returns from where to read on, and which version. There is always a byte to
// be read: asking for none is answered in many ways.
func (r *receiver) resumeAt() (offset int64, version string) {
	at := r.p.origin
	if at.From == r.From {
		version = at.Version
	}
	if r.p.have == 0 || !r.Proven && (version == "" || at.Boot != bootID()) || at.Size >= 0 && r.p.have > at.Size {
		return 0, ""
	}
	offset = r.p.have
	if at.Size >= 0 {
		offset = min(offset, at.Size-1)
	}
	return offset, version
}

// accept prepares p for what o gives, and returns how many bytes of that it has already.
func (r *receiver) accept(o *Object) (skip int64, err error) {
	is, was := origin{From: r.From, Version: o.Version, Size: o.Size, Boot: bootID()}, r.p.origin
	if r.p.have == 0 {
		return 0, retry.Final(r.p.reset(is))
	}
	sameVersion := was.From == is.From && was.Version != "" && was.Version == is.Version
	if !sameVersion && !r.Proven || !r.goesOn(was, is) || o.Offset > r.p.have || is.Size >= 0 && r.p.have > is.Size {
		return 0, r.startOver(o, is)
	}
	r.pieced = true
	if is != was {
		err = retry.Final(r.p.describe(is))
	}
	return r.p.have - o.Offset, err
}

// goesOn reports whether an object may have the same bytes as another, of which a part
// is there. What is not proven must not have been through a power cut: a file that is
// longer than what reached the disk is full of zeros.
func (r *receiver) goesOn(was, is origin) bool {
	if !r.Proven && was.Boot != is.Boot || was.Size != is.Size {
		return false
	}
	return was.From != is.From || was.Version == "" || is.Version == "" || was.Version == is.Version
}

// startOver empties p for an object that is not the one p has a part of. If that was
// used already, all has to begin anew.
func (r *receiver) startOver(o *Object, is origin) error {
	again := errOther
	if !r.in.rewind() {
		again = retry.Final(errOther)
		r.in.end(again) // before what is being read goes away
	}
	if err := r.p.reset(is); err != nil {
		return retry.Final(err)
	}
	if o.Offset == 0 && !retry.IsFinal(again) {
		return nil
	}
	return again
}

// copy appends what o still gives to p.
func (r *receiver) copy(o *Object) error {
	r.tell(o.Size)
	for buf := make([]byte, 256<<10); ; {
		n, err := o.Read(buf)
		if n > 0 {
			if err := r.p.append(buf[:n]); err != nil {
				return retry.Final(err)
			}
			r.in.advance(r.p.have)
			r.tell(o.Size)
		}
		switch {
		case r.Max > 0 && r.p.have > r.Max:
			return retry.Final(fmt.Errorf("%w: more bytes than the limit of %d", errTooLarge, r.Max))
		case err == io.EOF && o.Size >= 0 && r.p.have != o.Size:
			return fmt.Errorf("ended after %d of %d bytes", r.p.have, o.Size)
		case err == io.EOF:
			return nil
		case err != nil:
			return brokeOff(r.p.have, err)
		}
	}
}

func (r *receiver) tell(total int64) {
	if r.Progress != nil {
		r.Progress(r.p.have, total)
	}
}

func brokeOff(have int64, err error) error {
	if errors.Is(err, fs.ErrClosed) {
		return retry.Final(err)
	}
	return fmt.Errorf("after %d bytes: %w", have, err)
}
