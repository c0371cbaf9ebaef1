package serve

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

func (s *Server) handleContents(g *grpc.Server) {
	g.Handle(remote.FindMissingBlobs, grpc.Unary(s.findMissing))
	g.Handle(remote.BatchUpdateBlobs, grpc.Unary(s.batchUpdate))
	g.Handle(remote.BatchReadBlobs, grpc.Unary(s.batchRead))
	g.Handle(remote.GetTree, s.getTree)
}

// function checks what digests are made with.
func function(f remote.DigestFunction) error {
	if f != 0 && f != remote.SHA256 {
		return grpc.Errorf(grpc.InvalidArgument, "digest function %d: this server knows SHA256 alone", f)
	}
	return nil
}

func (s *Server) findMissing(ctx context.Context, r *remote.FindMissingBlobsRequest) (*remote.FindMissingBlobsResponse, error) {
	if err := function(r.Function); err != nil {
		return nil, err
	}
	s.look(ctx)
	resp := new(remote.FindMissingBlobsResponse)
	for _, d := range r.Digests {
		there, err := s.has(d)
		if err != nil {
			return nil, err
		}
		if !there {
			resp.Missing = append(resp.Missing, d)
		}
	}
	s.metrics.found("object", true, len(r.Digests)-len(resp.Missing))
	s.metrics.found("object", false, len(resp.Missing))
	return resp, nil
}

// maxWriting is how many contents of a batch are written at once. Each waits for the disk,
// and a file system flushes those that wait together.
const maxWriting = 64

func (s *Server) batchUpdate(ctx context.Context, r *remote.BatchUpdateBlobsRequest) (*remote.BatchUpdateBlobsResponse, error) {
	if err := mayWrite(ctx); err != nil {
		return nil, err
	}
	if err := function(r.Function); err != nil {
		return nil, err
	}
	total := int64(0)
	for _, b := range r.Blobs {
		if total += max(b.Digest.Size, int64(len(b.Data))); total > maxBatch || b.Digest.Size > maxBatch {
			return nil, grpc.Errorf(grpc.InvalidArgument, "a batch of more than %d bytes: write what is large with ByteStream", maxBatch)
		}
	}
	resp := &remote.BatchUpdateBlobsResponse{Blobs: make([]remote.BlobUpdated, len(r.Blobs))}
	var writing errgroup.Group
	writing.SetLimit(maxWriting)
	for i, b := range r.Blobs {
		writing.Go(func() error {
			data, err := uncompressed(b.Data, b.Digest.Size, b.Compressor)
			if err == nil {
				err = s.keepBytes(b.Digest, data)
			}
			resp.Blobs[i] = remote.BlobUpdated{Digest: b.Digest, Status: statusOf(s.told(b.Digest.Hash, err))}
			return nil
		})
	}
	return resp, writing.Wait()
}

func (s *Server) batchRead(ctx context.Context, r *remote.BatchReadBlobsRequest) (*remote.BatchReadBlobsResponse, error) {
	if err := function(r.Function); err != nil {
		return nil, err
	}
	total := int64(0)
	for _, d := range r.Digests {
		if total += max(d.Size, 0); total > maxBatch || d.Size > maxBatch {
			return nil, grpc.Errorf(grpc.InvalidArgument, "a batch of more than %d bytes: read what is large with ByteStream", maxBatch)
		}
	}
	resp := new(remote.BatchReadBlobsResponse)
	for _, d := range r.Digests {
		data, err := s.load(ctx, d, d.Size)
		s.metrics.found("object", err == nil, 1)
		resp.Blobs = append(resp.Blobs, remote.BlobRead{Digest: d, Data: data, Status: statusOf(s.told(d.Hash, err))})
	}
	return resp, nil
}

// statusOf is an error as a message has it.
func statusOf(err error) *remote.Status {
	if err == nil {
		return new(remote.Status)
	}
	st := &remote.Status{Code: int32(grpc.CodeOf(err)), Message: err.Error()}
	if e, ok := err.(*grpc.Error); ok {
		st.Message = e.Message
	}
	return st
}

// maxDirectory is how large a Directory message may be, in bytes: some 400,000 entries.
const maxDirectory = 64 << 20

// getTree gives the Directory messages of a tree, each once, the root first; those that
// are not here are left out, as the protocol asks. Page tokens are not given: a stream
// can be as long as it needs to be.
func (s *Server) getTree(ctx context.Context, call *grpc.ServerCall) error {
	var r remote.GetTreeRequest
	if err := call.Receive(&r); err != nil {
		return err
	}
	if err := function(r.Function); err != nil {
		return err
	}
	if r.PageToken != "" {
		return grpc.Errorf(grpc.InvalidArgument, "page token %.80q: this server has given none", r.PageToken)
	}
	var page remote.GetTreeResponse
	size, first := 0, true
	err := s.eachDirectory(ctx, r.Root, func(data []byte) error {
		first = false
		if size > 0 && (size+len(data) > maxBatch || r.PageSize > 0 && len(page.Directories) >= int(r.PageSize)) {
			if err := call.Send(&page); err != nil {
				return err
			}
			page, size = remote.GetTreeResponse{}, 0
		}
		page.Directories = append(page.Directories, data)
		size += len(data) + 8
		return nil
	})
	if err == nil && first {
		err = grpc.Errorf(grpc.NotFound, "directory %s: not here", r.Root.Hash)
	}
	if err != nil {
		return s.told("directory "+r.Root.Hash, err)
	}
	return call.Send(&page)
}
