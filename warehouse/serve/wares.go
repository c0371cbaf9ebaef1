package serve

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"

	"github.com/kilnbuild/kiln/pack"
	"github.com/kilnbuild/kiln/pack/archive"
	"github.com/kilnbuild/kiln/warehouse"
	"github.com/kilnbuild/kiln/warehouse/packed"
	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/serve/keep"
)

// A packed ware is an object, and a value under the ware's hash says which. Those of
// the local warehouse are packed when they are first asked for.

// wareName is what a packed ware is kept under. The place does not tell its packtype.
func wareName(hash string) keep.Sum { return keep.Sum(sha256.Sum256([]byte(hash))) }

// wareHash reads the hash from the path of a packed ware, aaa/bbb/HASH.
func wareHash(r *http.Request) (string, error) {
	hash := r.PathValue("hash")
	id := warehouse.WareID{Packtype: pack.Tree, Hash: hash}
	parsed, err := warehouse.ParseWareID(id.String())
	if err != nil || parsed != id || "/"+packed.Path(id.String()) != r.URL.Path {
		return "", grpc.Errorf(grpc.NotFound, "%.300q is no path of a ware: want /aaa/bbb/HASH", r.URL.Path)
	}
	return hash, nil
}

func (s *Server) webGetWare(w http.ResponseWriter, r *http.Request) {
	hash, err := wareHash(r)
	if err == nil {
		err = s.giveWare(w, r, hash)
	}
	if err != nil {
		fail(w, s.told("ware "+hash, err))
	}
}

func (s *Server) giveWare(w http.ResponseWriter, r *http.Request, hash string) error {
	sum, err := s.packedWare(hash)
	var rec warehouse.Record
	if errors.Is(err, keep.ErrMissing) {
		rec, err = s.localWare(hash)
		s.metrics.found("ware", err == nil, 1)
		if err == nil && r.Method == http.MethodHead {
			return nil // how large it will be is not known before it is packed
		}
		if err == nil {
			sum, err = s.pack(r.Context(), hash, rec)
		}
		if errors.Is(err, keep.ErrFull) {
			return s.streamWare(w, r, rec)
		}
	} else {
		s.metrics.found("ware", err == nil, 1)
	}
	if err != nil {
		return err
	}
	return s.webContent(w, r, sum)
}

// packedWare returns which object a ware is.
func (s *Server) packedWare(hash string) (keep.Sum, error) {
	value, err := s.store.Value(keep.Names, wareName(hash))
	if err != nil {
		return keep.Sum{}, err
	}
	sum, err := keep.ParseSum(string(value))
	if err == nil && !s.hasSum(sum, anySize) {
		err = keep.ErrMissing
	}
	return sum, err
}

// localWare looks a ware of the local warehouse up by its hash.
func (s *Server) localWare(hash string) (warehouse.Record, error) {
	if s.local != nil && !s.local.distrusts(wareName(hash)) {
		for _, packtype := range packtypes {
			rec, err := s.local.wares.Get(warehouse.WareID{Packtype: packtype, Hash: hash})
			if err == nil && s.promise(rec.ID) {
				return rec, nil
			}
			if err != nil && !errors.Is(err, warehouse.ErrMissing) {
				return rec, err
			}
		}
	}
	return warehouse.Record{}, keep.ErrMissing
}

// pack packs a ware of the local warehouse, once for all who ask for it meanwhile, and
// also when they go away: the next one will ask.
func (s *Server) pack(ctx context.Context, hash string, rec warehouse.Record) (keep.Sum, error) {
	packing := s.packing.DoChan(hash, func() (any, error) {
		if !s.begin() {
			return nil, s.life.Err()
		}
		defer s.doing.Done()
		s.packers <- struct{}{}
		defer func() { <-s.packers }()
		return s.packNow(s.life, hash, rec)
	})
	select {
	case <-ctx.Done():
		return keep.Sum{}, ctx.Err()
	case res := <-packing:
		sum, _ := res.Val.(keep.Sum)
		return sum, res.Err
	}
}

func (s *Server) packNow(ctx context.Context, hash string, rec warehouse.Record) (sum keep.Sum, err error) {
	err = s.holding(rec.ID, func() (err error) {
		for _, format := range packed.Formats(rec) {
			sum, err = s.packAs(ctx, rec, format)
			if !errors.Is(err, archive.ErrZip) {
				break
			}
		}
		return err
	})
	if errors.Is(err, pack.ErrCorrupt) {
		s.local.distrust(wareName(hash))
	}
	if err == nil {
		err = s.nameWare(hash, sum)
	}
	return sum, damaged(err)
}

func (s *Server) packAs(ctx context.Context, rec warehouse.Record, format archive.Format) (keep.Sum, error) {
	w, err := s.create(anySize)
	if err != nil {
		return keep.Sum{}, err
	}
	if err := archive.Write(ctx, s.local.wares, rec.ID, w, format); err != nil {
		w.Abort()
		return keep.Sum{}, err
	}
	sum := w.Sum()
	return sum, w.Commit(sum, w.Written())
}

// damaged makes an error that says that a ware was changed on disk match errDamaged.
func damaged(err error) error {
	if errors.Is(err, pack.ErrCorrupt) {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	return err
}

func (s *Server) nameWare(hash string, sum keep.Sum) error {
	return s.retry(func() error { return s.store.SetValue(keep.Names, wareName(hash), []byte(sum.String())) })
}

// streamWare packs a ware that is too large to be kept packed while it is sent.
func (s *Server) streamWare(w http.ResponseWriter, r *http.Request, rec warehouse.Record) error {
	format := packed.Formats(rec)
	err := s.holding(rec.ID, func() error {
		return archive.Write(r.Context(), s.local.wares, rec.ID, w, format[len(format)-1])
	})
	if err != nil {
		s.log.printf("pack %s: %v", rec.ID, err)
		panic(http.ErrAbortHandler) // the client must not take it for whole
	}
	return nil
}

// webPutWare keeps a packed ware as it is handed in. Whether it is the ware it is called
// no server can vouch for; who fetches it unpacks and verifies it.
func (s *Server) webPutWare(w http.ResponseWriter, r *http.Request) {
	hash, err := wareHash(r)
	if err == nil {
		err = mayWrite(r.Context())
	}
	if err == nil {
		var sum keep.Sum
		if sum, err = s.webTake(r, nil); err == nil {
			err = s.nameWare(hash, sum)
		}
	}
	if err != nil {
		fail(w, s.told("ware "+hash, err))
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// hasWare reports whether a packed ware can be had here.
func (s *Server) hasWare(hash string) bool {
	if _, err := s.packedWare(hash); err == nil {
		return true
	}
	_, err := s.localWare(hash)
	return err == nil
}
