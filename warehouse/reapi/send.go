package reapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

// writeBatch uploads contents in one call, and those that did not arrive in others.
func (s *store) writeBatch(ctx context.Context, able abilities, digests []remote.Digest, contents [][]byte, count *counter) error {
	if able.blob > 0 {
		for _, d := range digests {
			if err := able.fits(d); err != nil {
				return err
			}
		}
	}
	left := make([]remote.BlobUpdate, len(digests))
	for i, d := range digests {
		left[i] = remote.BlobUpdate{Digest: d, Data: contents[i]}
		if able.batchUpdate {
			left[i].Data, left[i].Compressor = compressed(contents[i])
		}
	}
	err := s.write(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		var resp remote.BatchUpdateBlobsResponse
		req := &remote.BatchUpdateBlobsRequest{Instance: s.place.instance, Blobs: left}
		if err := s.conn.Call(ctx, remote.BatchUpdateBlobs, req, &resp); err != nil {
			return err
		}
		before := len(left)
		var err error
		if left, err = notTaken(left, &resp, count); err == nil && len(left) > 0 && len(left) < before {
			err = grpc.Errorf(grpc.Unavailable, "the server took %d of %d contents", before-len(left), before)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("upload %d contents of together %d bytes: %w", len(digests), total(digests), err)
	}
	return nil
}

// notTaken returns those of sent that the server did not take, and why. What may pass
// comes last, so that it does not hide what does not.
func notTaken(sent []remote.BlobUpdate, resp *remote.BatchUpdateBlobsResponse, count *counter) (left []remote.BlobUpdate, err error) {
	status := map[remote.Digest]error{}
	for _, b := range resp.Blobs {
		status[b.Digest] = b.Status.Err()
	}
	for _, b := range sent {
		why, said := status[b.Digest]
		if !said {
			why = grpc.Errorf(grpc.Unavailable, "the server says nothing of %s", b.Digest)
		}
		switch code := grpc.CodeOf(why); {
		case code == grpc.OK || code == grpc.AlreadyExists:
			count.crossed(b.Digest.Size)
			continue
		case err == nil || passes(grpc.CodeOf(err)) && !passes(code):
			err = why
		}
		left = append(left, b)
	}
	return left, err
}

func total(digests []remote.Digest) (n int64) {
	for _, d := range digests {
		n += d.Size
	}
	return n
}

func (able abilities) fits(d remote.Digest) error {
	if able.blob > 0 && d.Size > able.blob {
		return fmt.Errorf("a content has %d bytes, and the server takes none of more than %d", d.Size, able.blob)
	}
	return nil
}

// pieceSize is how much of a content a message of a stream has, in bytes: little enough
// that several streams share a connection, enough that calls cost nothing.
const pieceSize = 256 << 10

// writeStream uploads one content. What was interrupted goes on where it was, if the
// server knows that.
func (s *store) writeStream(ctx context.Context, able abilities, d remote.Digest, c content, count *counter) error {
	if err := able.fits(d); err != nil {
		return err
	}
	w := &writer{s: s, d: d, c: c, count: count, id: uploadID()}
	if able.stream {
		w.compressor = remote.Zstd
	}
	tried := false
	err := persist(ctx, func() int64 { return w.told }, s.write, func() error {
		offset := int64(0)
		if tried {
			offset = w.committed(ctx)
		}
		tried = true
		if offset < 0 {
			w.crossed(d.Size)
			return nil
		}
		err := w.write(ctx, offset)
		if code := grpc.CodeOf(err); offset > 0 && (code == grpc.InvalidArgument || code == grpc.OutOfRange) {
			w.id = uploadID() // what it had was not what was sent
			err = w.write(ctx, 0)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("upload a content of %d bytes: %w", d.Size, err)
	}
	w.crossed(d.Size)
	return nil
}

// A writer uploads one content.
type writer struct {
	s          *store
	d          remote.Digest
	c          content
	count      *counter
	id         string
	compressor remote.Compressor
	told       int64 // bytes that count knows of
}

func (w *writer) resource() string {
	return remote.WriteName(w.s.place.instance, w.id, w.d, w.compressor)
}

// crossed says that n bytes of the content have crossed, again maybe.
func (w *writer) crossed(n int64) {
	if n > w.told {
		w.count.crossed(n - w.told)
		w.told = n
	}
}

// committed asks how much the server has of the content, of which it counts bytes as they
// are uncompressed; -1 if it has all. Where it cannot say, it is sent anew, as another
// upload.
func (w *writer) committed(ctx context.Context) int64 {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var resp remote.QueryWriteStatusResponse
	err := w.s.conn.Call(ctx, remote.QueryWriteStatus, &remote.QueryWriteStatusRequest{Resource: w.resource()}, &resp)
	switch {
	case err == nil && resp.Complete:
		return -1
	case err == nil && resp.Committed > 0 && resp.Committed < w.d.Size:
		return resp.Committed
	}
	w.id = uploadID()
	return 0
}

// write sends the content from offset on.
func (w *writer) write(ctx context.Context, offset int64) error {
	if _, err := w.c.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	stream := w.s.conn.Stream(ctx, remote.Write)
	defer stream.Close()
	out := &pieces{stream: stream, resource: w.resource(), offset: offset}
	var err error
	if w.compressor == remote.Zstd {
		err = compressTo(out, &counted{w.c, offset, w.crossed})
	} else {
		_, err = io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{&counted{w.c, offset, w.crossed}}, make([]byte, pieceSize))
	}
	if err == nil {
		err = out.finish()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err // of the file
	}
	if err == nil {
		_ = stream.CloseSend()
	}
	var resp remote.WriteResponse
	if err := stream.ReceiveOnly(&resp); err != nil {
		return err
	}
	switch {
	case resp.Committed == w.d.Size || resp.Committed == out.offset && err == nil:
	case resp.Committed == -1 && w.compressor != remote.Identity: // it had it
	default:
		return grpc.Errorf(grpc.Unavailable, "the server took %d bytes of %d", resp.Committed, out.offset)
	}
	return nil
}

// pieces writes to a stream, one message behind.
type pieces struct {
	stream   *grpc.Stream
	resource string
	offset   int64 // bytes sent before
	buf      []byte
}

func (p *pieces) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		if len(p.buf) == pieceSize {
			if err := p.flush(false); err != nil {
				return 0, err
			}
		}
		n := min(pieceSize-len(p.buf), len(rest))
		p.buf, rest = append(p.buf, rest[:n]...), rest[n:]
	}
	return len(b), nil
}

func (p *pieces) finish() error { return p.flush(true) }

func (p *pieces) flush(finish bool) error {
	err := p.stream.Send(&remote.WriteRequest{Resource: p.resource, Offset: p.offset, Finish: finish, Data: p.buf})
	p.offset += int64(len(p.buf))
	p.buf = p.buf[:0]
	p.resource = ""
	return err
}

// counted tells how far a content has been read.
type counted struct {
	r    io.Reader
	at   int64
	tell func(at int64)
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.at += int64(n)
	if n > 0 {
		c.tell(c.at)
	}
	return n, err
}

// uploadID returns a random UUID, RFC 9562, version 4.
func uploadID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it ends the process rather than fail
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
