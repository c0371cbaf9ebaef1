package serve

import (
	"context"
	"errors"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
	"github.com/kilnbuild/kiln/warehouse/serve/keep"
)

// eachDirectory calls f with each Directory message of a tree that is here, the root
// first, each once.
func (s *Server) eachDirectory(ctx context.Context, root remote.Digest, f func([]byte) error) error {
	seen := map[remote.Digest]bool{root: true}
	for todo := []remote.Digest{root}; len(todo) > 0; {
		d := todo[0]
		todo = todo[1:]
		data, err := s.load(ctx, d, maxDirectory)
		if errors.Is(err, keep.ErrMissing) {
			continue
		}
		if err != nil {
			return err
		}
		if err := f(data); err != nil {
			return err
		}
		var dir remote.Directory
		if err := grpc.Unmarshal(data, &dir); err != nil {
			return grpc.Errorf(grpc.InvalidArgument, "%s is no Directory message", d.Hash)
		}
		for _, n := range dir.Directories {
			if n.Digest != nil && !seen[*n.Digest] {
				seen[*n.Digest] = true
				todo = append(todo, *n.Digest)
			}
		}
	}
	return nil
}

// wholeDirectory reports whether all contents that a Directory message refers to are
// here. Directories in it are not looked into.
func (s *Server) wholeDirectory(data []byte) bool {
	var dir remote.Directory
	if err := grpc.Unmarshal(data, &dir); err != nil {
		return false
	}
	for _, f := range dir.Files {
		if !s.hasAll(f.Digest) {
			return false
		}
	}
	return true
}

// hasAll reports whether all contents are here; what has no digest is.
func (s *Server) hasAll(digests ...*remote.Digest) bool {
	for _, d := range digests {
		if d == nil {
			continue
		}
		if there, err := s.has(*d); !there || err != nil {
			return false
		}
	}
	return true
}
