package serve

import (
	"context"
	"crypto/sha256"
	"errors"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
	"github.com/kilnbuild/kiln/warehouse/serve/keep"
)

func (s *Server) handleActions(g *grpc.Server) {
	g.Handle(remote.GetActionResult, grpc.Unary(s.getAction))
	g.Handle(remote.UpdateActionResult, grpc.Unary(s.updateAction))
}

// actionName is what the result of an action is kept under. Instances do not see each
// other's; contents, which prove themselves, they share.
func actionName(instance string, action remote.Digest) (keep.Sum, error) {
	sum, err := sumOf(action)
	if err != nil || instance == "" {
		return sum, err
	}
	return keep.Sum(sha256.Sum256([]byte(instance + "\x00" + action.Hash))), nil
}

func (s *Server) getAction(ctx context.Context, r *remote.GetActionResultRequest) (*remote.Raw, error) {
	if err := function(r.Function); err != nil {
		return nil, err
	}
	data, err := s.action(ctx, r.Instance, r.Action)
	if err != nil {
		return nil, s.told("action "+r.Action.Hash, err)
	}
	return (*remote.Raw)(&data), nil
}

// action returns the result of an action, an encoded ActionResult. What refers to
// contents that are not here is of no use and counts as missing.
func (s *Server) action(ctx context.Context, instance string, action remote.Digest) ([]byte, error) {
	name, err := actionName(instance, action)
	if err != nil {
		return nil, err
	}
	data, err := s.store.Value(keep.Actions, name)
	if err == nil {
		var result remote.ActionResult
		if grpc.Unmarshal(data, &result) != nil || !s.complete(ctx, &result) {
			err = keep.ErrMissing
		}
	}
	if errors.Is(err, keep.ErrMissing) {
		data, err = s.localAction(ctx, action)
	}
	if err == nil || errors.Is(err, keep.ErrMissing) {
		s.metrics.found("action", err == nil, 1)
	}
	return data, err
}

// complete reports whether everything that a result refers to is here. Each of it has
// then been used, and will not be evicted soon.
func (s *Server) complete(ctx context.Context, r *remote.ActionResult) bool {
	if !s.hasAll(r.StdoutDigest, r.StderrDigest) {
		return false
	}
	for _, f := range r.Files {
		if !s.hasAll(f.Digest) {
			return false
		}
	}
	for _, d := range r.Directories {
		if d.Tree != nil && !s.completeTree(ctx, *d.Tree) {
			return false
		}
		if d.Root != nil && !s.completeBelow(ctx, *d.Root) {
			return false
		}
	}
	return true
}

// maxTree is how large a Tree message may be, in bytes.
const maxTree = 256 << 20

func (s *Server) completeTree(ctx context.Context, d remote.Digest) bool {
	data, err := s.load(ctx, d, maxTree)
	if err != nil {
		return false
	}
	var tree remote.Tree
	if grpc.Unmarshal(data, &tree) != nil || !s.wholeDirectory(tree.Root) {
		return false
	}
	for _, child := range tree.Children {
		if !s.wholeDirectory(child) {
			return false
		}
	}
	return true
}

// completeBelow is for a tree whose Directory messages are contents of their own.
func (s *Server) completeBelow(ctx context.Context, root remote.Digest) bool {
	seen := map[remote.Digest]bool{root: true}
	for todo := []remote.Digest{root}; len(todo) > 0; todo = todo[1:] {
		data, err := s.load(ctx, todo[0], maxDirectory)
		var dir remote.Directory
		if err != nil || grpc.Unmarshal(data, &dir) != nil || !s.wholeDirectory(data) {
			return false
		}
		for _, n := range dir.Directories {
			if n.Digest != nil && !seen[*n.Digest] {
				seen[*n.Digest] = true
				todo = append(todo, *n.Digest)
			}
		}
	}
	return true
}

func (s *Server) updateAction(ctx context.Context, r *remote.UpdateActionResultRequest) (*remote.Raw, error) {
	if err := mayWrite(ctx); err != nil {
		return nil, err
	}
	if err := function(r.Function); err != nil {
		return nil, err
	}
	if err := s.keepAction(r.Instance, r.Action, r.Result); err != nil {
		return nil, s.told("action "+r.Action.Hash, err)
	}
	return (*remote.Raw)(&r.Result), nil
}

func (s *Server) keepAction(instance string, action remote.Digest, data []byte) error {
	name, err := actionName(instance, action)
	if err != nil {
		return err
	}
	var result remote.ActionResult
	if len(data) > keep.MaxValue || grpc.Unmarshal(data, &result) != nil {
		return grpc.Errorf(grpc.InvalidArgument, "action %s: what was handed in is no ActionResult of at most %d bytes", action.Hash, keep.MaxValue)
	}
	return s.retry(func() error { return s.store.SetValue(keep.Actions, name, data) })
}
