package serve

import (
	"context"
	"io"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

func (s *Server) handleStreams(g *grpc.Server) {
	g.Handle(remote.Read, s.read)
	g.Handle(remote.Write, s.write)
	g.Handle(remote.QueryWriteStatus, grpc.Unary(s.writeStatus))
}

// read sends a content piece by piece, compressed if its name says so.
func (s *Server) read(ctx context.Context, call *grpc.ServerCall) error {
	var r remote.ReadRequest
	if err := call.Receive(&r); err != nil {
		return err
	}
	name, err := remote.ParseResource(r.Resource)
	switch {
	case err != nil:
		return err
	case name.Upload != "":
		return grpc.Errorf(grpc.InvalidArgument, "resource %.300q is to be written, not read", r.Resource)
	case r.Limit < 0 || name.Compressor != remote.Identity && r.Limit != 0:
		return grpc.Errorf(grpc.InvalidArgument, "read limit %d: want none of what is sent compressed, else a number of bytes", r.Limit)
	case r.Offset < 0 || r.Offset > name.Digest.Size:
		return grpc.Errorf(grpc.OutOfRange, "read offset %d: there are %d bytes", r.Offset, name.Digest.Size)
	}
	return s.told(name.Digest.Hash, s.sendContent(ctx, call, name, r.Offset, r.Limit))
}

func (s *Server) sendContent(ctx context.Context, call *grpc.ServerCall, name remote.Resource, offset, limit int64) error {
	c, err := s.open(ctx, name.Digest)
	s.metrics.found("object", err == nil, 1)
	if err != nil {
		return err
	}
	defer c.close()
	if limit == 0 {
		limit = c.size
	}
	send := func(b []byte) error { return call.Send(&remote.ReadResponse{Data: b}) }
	if name.Compressor == remote.Identity {
		return c.send(ctx, offset, limit, send)
	}
	z, err := codec.Encoder(writer(send))
	if err != nil {
		return err
	}
	defer codec.FreeEncoder(z)
	if err := c.send(ctx, offset, limit, func(b []byte) error { _, err := z.Write(b); return err }); err != nil {
		return err
	}
	return z.Close()
}

// A writer is a function that writes.
type writer func([]byte) error

func (w writer) Write(p []byte) (int, error) {
	if err := w(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// writeStatus tells how far a Write got that ended early. One that is still waited for has
// then lost its client, who would not ask otherwise.
func (s *Server) writeStatus(ctx context.Context, r *remote.QueryWriteStatusRequest) (*remote.QueryWriteStatusResponse, error) {
	if err := mayWrite(ctx); err != nil {
		return nil, err
	}
	name, err := remote.ParseResource(r.Resource)
	if err != nil {
		return nil, err
	}
	s.uploads.interrupt(r.Resource)
	there, err := s.has(name.Digest)
	switch {
	case err != nil:
		return nil, s.told(name.Digest.Hash, err)
	case there:
		return &remote.QueryWriteStatusResponse{Committed: name.Digest.Size, Complete: true}, nil
	}
	return &remote.QueryWriteStatusResponse{Committed: s.uploads.written(r.Resource)}, nil
}

// write takes a content piece by piece, compressed if its name says so.
func (s *Server) write(ctx context.Context, call *grpc.ServerCall) error {
	if err := mayWrite(ctx); err != nil {
		return err
	}
	var first remote.WriteRequest
	if err := call.Receive(&first); err != nil {
		return err
	}
	name, err := remote.ParseResource(first.Resource)
	if err != nil {
		return err
	}
	if name.Upload == "" {
		return grpc.Errorf(grpc.InvalidArgument, "resource %.300q is to be read, not written", first.Resource)
	}
	there, err := s.has(name.Digest)
	if err == nil && there {
		committed := name.Digest.Size
		if name.Compressor != remote.Identity {
			committed = -1
		}
		return call.Send(&remote.WriteResponse{Committed: committed})
	}
	if err != nil {
		return err
	}
	in := &incoming{call: call, first: &first}
	if err := s.takeContent(in, name); err != nil {
		return s.told(name.Digest.Hash, err)
	}
	return call.Send(&remote.WriteResponse{Committed: in.got})
}

// takeContent keeps what arrives. Of an upload that ends early what has arrived is
// kept for the next one of that name. Also of one that is compressed the first offset is
// that of the content: what follows is compressed by itself.
func (s *Server) takeContent(in *incoming, name remote.Resource) error {
	sum, err := sumOf(name.Digest)
	if err != nil {
		return err
	}
	w, over := s.uploads.begin(in.first.Resource, in.first.Offset, in.call.Interrupt)
	defer over()
	if w != nil && w.Written() != in.first.Offset {
		w.Abort()
		w = nil
	}
	if w == nil {
		if w, err = s.create(name.Digest.Size); err != nil {
			return err
		}
	}
	in.got = w.Written()
	if name.Compressor == remote.Identity {
		_, err = in.WriteTo(w)
	} else if err = decode(w, in, name.Digest.Size-w.Written()); err != nil && in.err != nil && in.err != io.EOF {
		err = in.err
	}
	switch {
	case in.early:
		s.uploads.put(in.first.Resource, w)
		return err
	case err != nil:
		w.Abort()
		return err
	}
	return w.Commit(sum, name.Digest.Size)
}
