package reapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

// A lostError says which of the contents that were asked for are not there. It matches
// warehouse.ErrMissing.
type lostError struct{ digests []remote.Digest }

func (e *lostError) Error() string {
	return fmt.Sprintf("content %s is not there", e.digests[0])
}

func (e *lostError) Is(target error) bool { return target == warehouse.ErrMissing }

// isLost reports whether a server says that it does not have a content, or no more.
func isLost(err error) bool {
	code := grpc.CodeOf(err)
	return code == grpc.NotFound || code == grpc.DataLoss
}

// load reads one content into memory.
func (s *store) load(ctx context.Context, d remote.Digest) ([]byte, error) {
	able, err := s.abilities(ctx)
	if err != nil {
		return nil, err
	}
	if d.Size > able.batch {
		var b buffer
		err := s.readStream(ctx, able, d, &b, nil)
		return b.Bytes(), err
	}
	contents, err := s.readBatch(ctx, able, []remote.Digest{d}, nil)
	if err != nil {
		return nil, err
	}
	return contents[0], nil
}

// readBatch reads contents into memory, in one call if all goes well. The error may be a
// *lostError.
func (s *store) readBatch(ctx context.Context, able abilities, digests []remote.Digest, count *counter) ([][]byte, error) {
	got := map[remote.Digest][]byte{}
	left := digests
	err := s.again(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		req := &remote.BatchReadBlobsRequest{Instance: s.place.instance, Digests: left}
		if able.batchRead {
			req.Acceptable = []remote.Compressor{remote.Zstd}
		}
		var resp remote.BatchReadBlobsResponse
		if err := s.conn.Call(ctx, remote.BatchReadBlobs, req, &resp); err != nil {
			return err
		}
		err := take(got, left, &resp)
		left = notGot(left, got, count)
		return err
	})
	if err != nil {
		return nil, err
	}
	contents := make([][]byte, len(digests))
	for i, d := range digests {
		contents[i] = got[d]
	}
	return contents, nil
}

func notGot(digests []remote.Digest, got map[remote.Digest][]byte, count *counter) (left []remote.Digest) {
	for _, d := range digests {
		if _, ok := got[d]; ok {
			count.crossed(d.Size)
		} else {
			left = append(left, d)
		}
	}
	return left
}

// take verifies what a response has of the contents that are wanted.
func take(got map[remote.Digest][]byte, wanted []remote.Digest, resp *remote.BatchReadBlobsResponse) error {
	answers := make(map[remote.Digest]*remote.BlobRead, len(resp.Blobs))
	for i := range resp.Blobs {
		answers[resp.Blobs[i].Digest] = &resp.Blobs[i]
	}
	var lost lostError
	var passing error
	for _, d := range wanted {
		b, ok := answers[d]
		if !ok {
			passing = grpc.Errorf(grpc.Unavailable, "the server says nothing of %s", d)
			continue
		}
		switch err := b.Status.Err(); {
		case isLost(err):
			lost.digests = append(lost.digests, d)
		case err != nil && passes(grpc.CodeOf(err)):
			passing = err
		case err != nil:
			return err
		default:
			data, err := verified(d, b)
			if err != nil {
				return err
			}
			got[d] = data
		}
	}
	if len(lost.digests) > 0 {
		return &lost
	}
	return passing
}

// verified returns the content that a server gave for a digest, if it is that.
func verified(d remote.Digest, b *remote.BlobRead) ([]byte, error) {
	data := b.Data
	switch b.Compressor {
	case remote.Identity:
	case remote.Zstd:
		var err error
		if data, err = codec.Decompress(data, d.Size); err != nil {
			return nil, fmt.Errorf("%w: content %s, decompressed: %w", warehouse.ErrMismatch, d, err)
		}
	default:
		return nil, fmt.Errorf("%w: content %s is compressed as nobody has asked for", warehouse.ErrMismatch, d)
	}
	if remote.DigestOf(data) != d {
		return nil, mismatch(d, "the server gave something else for it")
	}
	return data, nil
}

func mismatch(d remote.Digest, why string) error {
	return fmt.Errorf("%w: content %s: %s", warehouse.ErrMismatch, d, why)
}

// A sink takes a content, maybe from the beginning again.
type sink interface {
	io.Writer
	restart() error
}

// buffer is a sink in memory.
type buffer struct{ bytes.Buffer }

func (b *buffer) restart() error { b.Reset(); return nil }

// readStream reads one content into a sink, and goes on where it was when it is
// interrupted.
func (s *store) readStream(ctx context.Context, able abilities, d remote.Digest, to sink, count *counter) error {
	r := &reader{s: s, d: d, to: to, hash: sha256.New(), count: count}
	return r.run(ctx, able)
}

// A reader reads one content.
type reader struct {
	s          *store
	d          remote.Digest
	compressor remote.Compressor
	to         sink
	hash       hash.Hash
	at         int64 // bytes that to has
	told       int64 // bytes that count knows of
	parts      int   // streams that to was written from
	count      *counter
}

// run reads until all is there, or is not worth trying.
func (r *reader) run(ctx context.Context, able abilities) error {
	if able.stream {
		r.compressor = remote.Zstd
	}
	err := persist(ctx, func() int64 { return r.at }, r.s.again, func() error {
		if r.at == r.d.Size {
			if err := r.ended(); err == nil || r.at > 0 {
				return err
			}
		}
		return r.read(ctx)
	})
	if isLost(err) {
		return &lostError{[]remote.Digest{r.d}}
	}
	return err
}

// read reads from where it was, to the end.
func (r *reader) read(ctx context.Context) error {
	stream := r.s.conn.Stream(ctx, remote.Read)
	defer stream.Close()
	req := &remote.ReadRequest{Resource: remote.ReadName(r.s.place.instance, r.d, r.compressor), Offset: r.at}
	_ = stream.Send(req) // if not, receiving tells why
	_ = stream.CloseSend()
	in := &received{stream: stream}
	var from io.Reader = in
	if r.compressor == remote.Zstd {
		d, err := codec.Decoder(in)
		if err != nil {
			return r.broken(in, err)
		}
		defer codec.FreeDecoder(d)
		from = d
	}
	r.parts++
	_, err := io.CopyBuffer(struct{ io.Writer }{r}, io.LimitReader(from, r.d.Size-r.at+1), make([]byte, pieceSize))
	var own *sinkError
	switch {
	case errors.As(err, &own):
		return own.error
	case err != nil:
		return r.broken(in, err)
	}
	return r.ended()
}

// broken says what is wrong with what came.
func (r *reader) broken(in *received, err error) error {
	if in.err != nil && in.err != io.EOF {
		return in.err
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return r.short()
	}
	return mismatch(r.d, err.Error())
}

// short is the error of a stream that ended too early. It may pass.
func (r *reader) short() error {
	return errors.Join(mismatch(r.d, fmt.Sprintf("it ended after %d bytes", r.at)),
		grpc.Errorf(grpc.Unavailable, "the server gave only a part"))
}

// ended checks what has come.
func (r *reader) ended() error {
	switch {
	case r.at < r.d.Size:
		return r.short()
	case r.at == r.d.Size && hex.EncodeToString(r.hash.Sum(nil)) == r.d.Hash:
		return nil
	case r.parts == 1:
		return mismatch(r.d, "the server gave something else for it")
	}
	// Some part was wrong, nobody knows which.
	if err := r.to.restart(); err != nil {
		return err
	}
	r.hash.Reset()
	r.at, r.parts = 0, 0
	return grpc.Errorf(grpc.Unavailable, "the parts that came do not fit together")
}

// Write takes what came.
func (r *reader) Write(b []byte) (int, error) {
	n, err := r.to.Write(b)
	if err != nil {
		return n, &sinkError{err}
	}
	r.hash.Write(b)
	r.at += int64(n)
	r.tell()
	return n, nil
}

func (r *reader) tell() {
	if r.at > r.told && r.at <= r.d.Size {
		r.count.crossed(r.at - r.told)
		r.told = r.at
	}
}

// A sinkError is of where a content is written to.
type sinkError struct{ error }

// received reads what comes on a stream.
type received struct {
	stream *grpc.Stream
	rest   []byte
	err    error
}

func (in *received) Read(b []byte) (int, error) {
	for len(in.rest) == 0 {
		if in.err != nil {
			return 0, in.err
		}
		var m remote.ReadResponse
		if in.err = in.stream.Receive(&m); in.err == nil {
			in.rest = m.Data
		}
	}
	n := copy(b, in.rest)
	in.rest = in.rest[n:]
	return n, nil
}
