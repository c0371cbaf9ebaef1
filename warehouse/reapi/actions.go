package reapi

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"

	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
	"github.com/kilnbuild/kiln/warehouse/seal"
)

// A tree is where a ware is.
type tree struct {
	message remote.Digest // of the Tree message
	root    remote.Digest // of the root's Directory message
}

// tree asks for the action result of a ware. The error matches warehouse.ErrMissing
// when there is none that is of use.
func (s *store) tree(ctx context.Context, id warehouse.WareID) (t tree, err error) {
	var result remote.ActionResult
	err = s.result(ctx, remote.WareAction(id), "ware "+id.String(), &result)
	if err != nil {
		return t, err
	}
	if len(result.Directories) != 1 || result.Directories[0].Tree == nil || result.Directories[0].Root == nil {
		return t, &warehouse.MissingError{What: "ware " + id.String(), Reason: errors.New("what is kept there for it is not kiln's")}
	}
	d := result.Directories[0]
	t = tree{*d.Tree, *d.Root}
	root, isTree := rootOf(id)
	switch {
	case t.message.Check() != nil || t.root.Check() != nil || isTree == nil && t.root != root:
		return t, &warehouse.MissingError{What: "ware " + id.String(), Reason: errors.New("what is kept there for it is broken")}
	case t.message.Size > maxTree:
		return t, fmt.Errorf("its Tree message has %d bytes, more than %d", t.message.Size, maxTree)
	}
	s.remember(id, t)
	return t, nil
}

// remember keeps where a ware is, for memos that name it.
func (s *store) remember(id warehouse.WareID, t tree) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.trees) > 10_000 {
		clear(s.trees)
	}
	s.trees[id] = t
}

// result gets the result of an action.
func (s *store) result(ctx context.Context, action remote.Digest, what string, result *remote.ActionResult) error {
	req := &remote.GetActionResultRequest{Instance: s.place.instance, Action: action, InlineStdout: true}
	err := s.call(ctx, remote.GetActionResult, req, result)
	if grpc.CodeOf(err) == grpc.NotFound {
		return &warehouse.MissingError{What: what}
	}
	return err
}

// setResult sets it.
func (s *store) setResult(ctx context.Context, action remote.Digest, result *remote.ActionResult) error {
	req := &remote.UpdateActionResultRequest{Instance: s.place.instance, Action: action, Result: grpc.Marshal(result)}
	return s.write(ctx, func() error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return s.conn.Call(ctx, remote.UpdateActionResult, req, new(remote.Raw))
	})
}

// Memo reads a memo, in one call unless it is larger than most.
func (s *store) Memo(ctx context.Context, key warehouse.StepKey) ([]byte, error) {
	sealed, err := s.memo(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("read memo %s from %s: %w", key, s, err)
	}
	return sealed, nil
}

func (s *store) memo(ctx context.Context, key warehouse.StepKey) ([]byte, error) {
	if err := key.Check(); err != nil {
		return nil, err
	}
	var result remote.ActionResult
	err := s.result(ctx, remote.MemoAction(key), "memo "+string(key), &result)
	if err != nil || len(result.Stdout) > 0 || result.StdoutDigest == nil {
		return result.Stdout, err
	}
	if d := *result.StdoutDigest; d.Check() != nil || d.Size > sealedMax {
		return nil, fmt.Errorf("it has %d bytes, more than %d", d.Size, sealedMax)
	}
	return s.load(ctx, *result.StdoutDigest)
}

// PutMemo writes a memo. The server is told which wares it names, so that it need not
// keep the memo when it has lost one of them.
func (s *store) PutMemo(ctx context.Context, key warehouse.StepKey, sealed []byte) error {
	err := key.Check()
	if err == nil && len(sealed) > sealedMax {
		err = fmt.Errorf("it has %d bytes, more than %d", len(sealed), sealedMax)
	}
	if err == nil {
		err = s.putMemo(ctx, key, sealed)
	}
	if err != nil {
		return fmt.Errorf("put memo %s into %s: %w", key, s, err)
	}
	return nil
}

func (s *store) putMemo(ctx context.Context, key warehouse.StepKey, sealed []byte) (err error) {
	var result remote.ActionResult
	if result.Directories, err = s.outputs(ctx, sealed); err != nil {
		return err
	}
	if result.Stdout = sealed; len(sealed) > sealedRaw {
		d := remote.DigestOf(sealed)
		if err := s.uploadBytes(ctx, d, sealed); err != nil {
			return err
		}
		result.Stdout, result.StdoutDigest = nil, &d
	}
	return s.setResult(ctx, remote.MemoAction(key), &result)
}

// outputs returns the wares that a memo names, by the names of its outputs. What cannot
// be read names none.
func (s *store) outputs(ctx context.Context, sealed []byte) (dirs []remote.OutputDirectory, err error) {
	memo, err := seal.Peek(sealed)
	if err != nil {
		return nil, nil
	}
	for _, name := range slices.Sorted(maps.Keys(memo.Outputs)) {
		id := memo.Outputs[name]
		if check(id) != nil {
			continue
		}
		s.mu.Lock()
		t, known := s.trees[id]
		s.mu.Unlock()
		if !known {
			if t, err = s.tree(ctx, id); err != nil {
				return nil, fmt.Errorf("output %s: %w", name, err)
			}
		}
		dirs = append(dirs, remote.OutputDirectory{Path: url.PathEscape(name), Tree: &t.message, Root: &t.root})
	}
	return dirs, nil
}
