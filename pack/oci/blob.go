package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// readBlob reads and verifies a blob of at most limit bytes.
func readBlob(ctx context.Context, from Blobs, d v1.Descriptor, limit int64) ([]byte, error) {
	if err := d.Digest.Validate(); err != nil {
		return nil, fmt.Errorf("digest %q: %w", d.Digest, err)
	}
	if d.Size > limit {
		return nil, tooLarge(limit)
	}
	r, err := from.Open(ctx, d)
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	err = errors.Join(err, r.Close())
	switch {
	case err != nil:
		return nil, err
	case int64(len(data)) > limit:
		return nil, tooLarge(limit)
	case d.Size > 0 && int64(len(data)) != d.Size:
		return nil, fmt.Errorf("it %w: it has %d bytes and should have %d", ErrMismatch, len(data), d.Size)
	}
	if got := d.Digest.Algorithm().FromBytes(data); got != d.Digest {
		return nil, fmt.Errorf("it %w: its bytes have %s", ErrMismatch, got)
	}
	return data, nil
}

func tooLarge(limit int64) error {
	return fmt.Errorf("it is larger than %d MiB", limit>>20)
}

// A hashed reader hashes and counts what is read through it.
type hashed struct {
	r io.Reader
	digest.Digester
	n   int64
	all *atomic.Int64 // counts for several readers; may be nil
}

func newHashed(r io.Reader, of digest.Digest) *hashed {
	a := digest.Canonical
	if of != "" {
		a = of.Algorithm()
	}
	return &hashed{r: r, Digester: a.Digester()}
}

func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.Hash().Write(p[:n])
	h.n += int64(n)
	if h.all != nil {
		h.all.Add(int64(n))
	}
	return n, err
}
