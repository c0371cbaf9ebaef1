package serve

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/seal"
	"github.com/kilnbuild/kiln/warehouse/serve/keep"
)

// memoKey reads the step key from the path of a memo, memo/aa/KEY.
func memoKey(r *http.Request) (keep.Sum, error) {
	key := warehouse.StepKey(r.PathValue("hash"))
	if key.Check() != nil || "/"+packed.Path(packed.MemoName(key)) != r.URL.Path {
		return keep.Sum{}, grpc.Errorf(grpc.NotFound, "%.300q is no path of a memo: want /memo/aa/KEY", r.URL.Path)
	}
	return keep.ParseSum(string(key))
}

func (s *Server) webGetMemo(w http.ResponseWriter, r *http.Request) {
	key, err := memoKey(r)
	var sealed []byte
	if err == nil {
		sealed, err = s.memo(key)
	}
	if err != nil {
		fail(w, s.told("memo "+key.String(), err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(sealed)))
	w.Write(sealed)
}

// memo returns a sealed memo whose wares are here: one that was handed in, else one of
// this machine.
func (s *Server) memo(key keep.Sum) ([]byte, error) {
	sealed, err := s.store.Value(keep.Memos, key)
	if err == nil && !s.wholeMemo(sealed) {
		err = keep.ErrMissing
	}
	if errors.Is(err, keep.ErrMissing) {
		sealed, err = s.localMemo(warehouse.StepKey(key.String()))
	}
	if err == nil || errors.Is(err, keep.ErrMissing) {
		s.metrics.found("memo", err == nil, 1)
	}
	return sealed, err
}

// wholeMemo reports whether the wares that a memo names are here, as far as can be told
// of what a client calls a memo.
func (s *Server) wholeMemo(sealed []byte) bool {
	memo, err := seal.Peek(sealed)
	if err != nil {
		return true
	}
	for name, id := range memo.Outputs {
		if id.Packtype != pack.Tree && id.Packtype != pack.Tar && id.Packtype != pack.Zip {
			id = memo.Trees[name] // which is what is put of others
		}
		if !s.hasWare(id.Hash) {
			return false
		}
	}
	return true
}

// localMemo seals a memo of this machine. There is none if nobody may rely on it, or it
// came from elsewhere: whoever made it has sealed it.
func (s *Server) localMemo(key warehouse.StepKey) ([]byte, error) {
	if s.local == nil || s.local.memos == nil {
		return nil, keep.ErrMissing
	}
	memo, err := s.local.memos.Get(key)
	if errors.Is(err, warehouse.ErrMissing) || err == nil && (!memo.MayBeShared() || memo.Origin != "") {
		return nil, keep.ErrMissing
	}
	if err != nil {
		return nil, err
	}
	trees := maps.Clone(memo.Trees)
	for name, id := range memo.Outputs {
		rec, err := s.local.wares.Get(id)
		if errors.Is(err, warehouse.ErrMissing) || err == nil && !s.promise(id) {
			return nil, keep.ErrMissing
		}
		if err != nil {
			return nil, err
		}
		if id.Packtype != pack.Tree {
			if trees == nil {
				trees = map[string]warehouse.WareID{}
			}
			trees[name] = rec.Tree
		}
	}
	memo.Trees = trees
	return s.o.Secret.Seal(*memo)
}

func (s *Server) webPutMemo(w http.ResponseWriter, r *http.Request) {
	key, err := memoKey(r)
	if err == nil {
		err = mayWrite(r.Context())
	}
	var sealed []byte
	if err == nil {
		if sealed, err = io.ReadAll(http.MaxBytesReader(w, r.Body, keep.MaxValue)); err != nil {
			err = grpc.Errorf(grpc.InvalidArgument, "memo: %v", err)
		}
	}
	if err == nil {
		err = s.retry(func() error { return s.store.SetValue(keep.Memos, key, sealed) })
	}
	if err != nil {
		fail(w, s.told("memo "+key.String(), err))
		return
	}
	w.WriteHeader(http.StatusCreated)
}
