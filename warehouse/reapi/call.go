package reapi

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kilnbuild/kiln/internal/loopback"
	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

// call calls a unary method, again if what went wrong may pass.
func (s *store) call(ctx context.Context, method string, req, resp grpc.Message) error {
	return s.again(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return s.conn.Call(ctx, method, req, resp)
	})
}

// again does what asks the server, until it has answered or is not worth trying.
func (s *store) again(ctx context.Context, f func() error) error {
	err := s.o.Retry.Do(ctx, func() error {
		err := f()
		s.mu.Lock()
		defer s.mu.Unlock()
		switch code := grpc.CodeOf(err); {
		case code == grpc.Unavailable && !s.reached:
			return retry.Final(s.place.hint(err)) // it is not there: who asks has other things to do
		case passes(code) && ctx.Err() == nil:
			return err
		}
		s.reached = true
		return retry.Final(err)
	})
	return s.explain(err)
}

// moving is how much has to have moved for a transfer to be worth going on with, in bytes.
const moving = 1 << 20

// persist is again, or write, for what moves a content: how often it was interrupted
// does not count as long as it gets on.
func persist(ctx context.Context, at func() int64, again func(context.Context, func() error) error, f func() error) error {
	for {
		before := at()
		err := again(ctx, f)
		if err == nil || at() < before+moving || !passes(grpc.CodeOf(err)) || ctx.Err() != nil {
			return err
		}
	}
}

// passes reports whether what went wrong may be gone when it is tried again.
func passes(code grpc.Code) bool {
	switch code {
	case grpc.Unavailable, grpc.ResourceExhausted, grpc.Aborted, grpc.DeadlineExceeded, grpc.Internal:
		return true
	}
	return false
}

// explain adds what can be done about an error.
func (s *store) explain(err error) error {
	switch grpc.CodeOf(err) {
	case grpc.Unauthenticated:
		if !s.o.credentials() {
			return fmt.Errorf("%w (the server wants to know who asks: name a token or a certificate in config.hcl)", err)
		}
		return fmt.Errorf("%w (the server does not take these credentials)", err)
	case grpc.Unimplemented:
		return fmt.Errorf("%w (is this a REAPI cache?)", err)
	}
	return err
}

// write is again for what changes the server. The error matches warehouse.ErrReadOnly
// when it lets nobody, or not who asks, change anything.
func (s *store) write(ctx context.Context, f func() error) error {
	err := s.again(ctx, f)
	switch code := grpc.CodeOf(err); {
	case code == grpc.PermissionDenied, code == grpc.Unimplemented, code == grpc.Unauthenticated && !s.o.credentials():
		return fmt.Errorf("%w: %w", warehouse.ErrReadOnly, err)
	}
	return err
}

// abilities are what a server can do.
type abilities struct {
	batch                          int64 // bytes of the contents of a batch
	blob                           int64 // bytes of one content; 0: no limit
	stream, batchUpdate, batchRead bool  // compressed by zstd
	readOnly                       bool
}

const (
	maxBatch  = 2 << 20        // of several that are on their way at a time
	batchRoom = 4<<20 - 64<<10 // of a message of gRPC's usual limit
)

// abilities asks for them once.
func (s *store) abilities(ctx context.Context) (abilities, error) {
	s.mu.Lock()
	able := s.able
	s.mu.Unlock()
	if able != nil {
		return *able, nil
	}
	var c remote.ServerCapabilities
	err := s.call(ctx, remote.GetCapabilities, &remote.GetCapabilitiesRequest{Instance: s.place.instance}, &c)
	if err == nil {
		able, err = s.read(&c)
	}
	if err != nil {
		return abilities{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.able = able
	return *able, nil
}

func (s *store) read(c *remote.ServerCapabilities) (*abilities, error) {
	cache := c.Cache
	if cache == nil {
		return nil, errors.New("the server says that it has no cache")
	}
	if len(cache.Functions) > 0 && !slices.Contains(cache.Functions, remote.SHA256) {
		return nil, fmt.Errorf("the server's digests are not SHA-256, which kiln's are: it knows the functions %v", cache.Functions)
	}
	able := &abilities{
		batch: maxBatch, blob: cache.MaxBlob,
		readOnly: cache.ActionUpdates == nil || !cache.ActionUpdates.Enabled,
	}
	if cache.MaxBatch > 0 {
		able.batch = min(able.batch, cache.MaxBatch)
	}
	if s.compresses() {
		able.stream = slices.Contains(cache.Compressors, remote.Zstd)
		able.batchRead = able.stream
		able.batchUpdate = slices.Contains(cache.BatchCompressors, remote.Zstd)
	}
	return able, nil
}

// compresses reports whether contents are to be compressed.
func (s *store) compresses() bool {
	return s.o.Compress == CompressAlways || s.o.Compress == CompressFar && !loopback.Is(s.place.address)
}

// findMissing returns which of digests the server lacks.
func (s *store) findMissing(ctx context.Context, digests []remote.Digest) (map[remote.Digest]bool, error) {
	missing := map[remote.Digest]bool{}
	for some := range slices.Chunk(digests, maxDigests) {
		var resp remote.FindMissingBlobsResponse
		err := s.call(ctx, remote.FindMissingBlobs, &remote.FindMissingBlobsRequest{Instance: s.place.instance, Digests: some}, &resp)
		if err != nil {
			return nil, fmt.Errorf("ask what is missing: %w", err)
		}
		for _, d := range resp.Missing {
			missing[d] = true
		}
	}
	return missing, nil
}
