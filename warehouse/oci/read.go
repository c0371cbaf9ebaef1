package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/internal/retry"
	"github.com/kilnbuild/kiln/warehouse"
	warehousehttp "github.com/kilnbuild/kiln/warehouse/http"
	"github.com/kilnbuild/kiln/warehouse/packed"
)

// Stat returns the size of an object, and as its version what its bytes are.
func (r *Repository) Stat(ctx context.Context, name string) (packed.Info, error) {
	list, err := r.find(ctx, name)
	if err != nil {
		return packed.Info{}, err
	}
	return list.info(), nil
}

// Open begins to read an object. What is read of a piece from its beginning is compared
// with its digest: the last read of it fails, with an error that matches
// warehouse.ErrMismatch, if the registry gave something else.
func (r *Repository) Open(ctx context.Context, name string, offset int64, version string) (*packed.Object, error) {
	list, err := r.find(ctx, name)
	if err != nil {
		return nil, err
	}
	info := list.info()
	if offset >= info.Size || version != "" && version != info.Version {
		offset = 0
	}
	i, begin := list.at(offset)
	first, at, err := r.openBlob(ctx, name, list[i], offset-begin)
	if err != nil {
		return nil, err
	}
	return &packed.Object{ReadCloser: &reading{r, ctx, name, first, list[i+1:]}, Info: info, Offset: begin + at}, nil
}

// reading reads pieces, one after the other.
type reading struct {
	r    *Repository
	ctx  context.Context
	name string
	io.ReadCloser
	next pieces
}

func (p *reading) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	if err != io.EOF || len(p.next) == 0 {
		return n, err
	}
	p.ReadCloser.Close()
	next, _, err := p.r.openBlob(p.ctx, p.name, p.next[0], 0)
	if err != nil {
		p.ReadCloser = http.NoBody
		return n, err
	}
	p.ReadCloser, p.next = next, p.next[1:]
	return n, nil
}

// openBlob begins to read a blob at offset, or, where the registry cannot, at its
// beginning: at says where.
func (r *Repository) openBlob(ctx context.Context, name string, blob v1.Descriptor, offset int64) (body io.ReadCloser, at int64, err error) {
	q := request{method: http.MethodGet, at: "blobs/" + blob.Digest.String(), what: "blob " + blob.Digest.String(), header: http.Header{}}
	if offset > 0 {
		q.header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := r.send(ctx, q, http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable)
	if errors.Is(err, warehouse.ErrMissing) {
		return nil, 0, &warehouse.MissingError{What: name + " in " + r.String(), Reason: fmt.Errorf("the registry has lost its blob %s", blob.Digest)}
	}
	if err != nil {
		return nil, 0, err
	}
	left := resp.ContentLength
	o, err := warehousehttp.ObjectOf(resp, offset)
	if err == nil && left >= 0 && o.Offset+left != blob.Size {
		err = mismatch("the registry gives %d bytes, and its manifest says %d", o.Offset+left, blob.Size)
	}
	if err != nil {
		resp.Body.Close()
		if offset > 0 {
			return r.openBlob(ctx, name, blob, 0) // who answers so does not know ranges
		}
		return nil, 0, r.explain(ctx, q, err)
	}
	if o.Offset == 0 {
		return &verified{ReadCloser: resp.Body, hash: sha256.New(), blob: blob, at: r.String()}, 0, nil
	}
	return resp.Body, o.Offset, nil
}

func mismatch(format string, args ...any) error {
	return retry.Final(fmt.Errorf("%w: %s", warehouse.ErrMismatch, fmt.Sprintf(format, args...)))
}

// verified reads a blob and compares it with its digest at the end.
type verified struct {
	io.ReadCloser
	hash hash.Hash
	n    int64
	blob v1.Descriptor
	at   string
}

func (v *verified) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	v.hash.Write(p[:n])
	v.n += int64(n)
	switch {
	case v.n > v.blob.Size:
		return n, mismatch("%s gives more than the %d bytes of the blob %s", v.at, v.blob.Size, v.blob.Digest)
	case err == io.EOF && v.n < v.blob.Size:
		return n, io.ErrUnexpectedEOF
	case err == io.EOF:
		if got := hex.EncodeToString(v.hash.Sum(nil)); got != v.blob.Digest.Encoded() {
			return n, mismatch("%s gives bytes with the digest sha256:%s for the blob %s", v.at, got, v.blob.Digest)
		}
	}
	return n, err
}
