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

// Stat returns the size of an object, and the digest of its bytes as its version.
func (r *Repository) Stat(ctx context.Context, name string) (packed.Info, error) {
	_, blob, err := r.find(ctx, name)
	return packed.Info{Size: blob.Size, Version: blob.Digest.String()}, err
}

// Open begins to read an object. What is read from the beginning is compared with its
// digest: the last read fails, with an error that matches warehouse.ErrMismatch, if the
// registry gave something else.
func (r *Repository) Open(ctx context.Context, name string, offset int64, version string) (*packed.Object, error) {
	_, blob, err := r.find(ctx, name)
	if err != nil {
		return nil, err
	}
	if offset >= blob.Size || version != "" && version != blob.Digest.String() {
		offset = 0
	}
	q := request{method: http.MethodGet, at: "blobs/" + blob.Digest.String(), what: "blob " + blob.Digest.String(), header: http.Header{}}
	if offset > 0 {
		q.header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := r.send(ctx, q, http.StatusOK, http.StatusPartialContent, http.StatusRequestedRangeNotSatisfiable)
	if errors.Is(err, warehouse.ErrMissing) {
		return nil, &warehouse.MissingError{What: name + " in " + r.String(), Reason: fmt.Errorf("the registry has lost its blob %s", blob.Digest)}
	}
	if err != nil {
		return nil, err
	}
	left := resp.ContentLength
	o, err := warehousehttp.ObjectOf(resp, offset)
	if err == nil && left >= 0 && o.Offset+left != blob.Size {
		err = mismatch("the registry gives %d bytes, and its manifest says %d", o.Offset+left, blob.Size)
	}
	if err != nil {
		resp.Body.Close()
		if offset > 0 {
			return r.Open(ctx, name, 0, "") // who answers so does not know ranges
		}
		return nil, r.explain(ctx, q, err)
	}
	o.Info = packed.Info{Size: blob.Size, Version: blob.Digest.String()}
	if o.Offset == 0 {
		o.ReadCloser = &verified{ReadCloser: resp.Body, hash: sha256.New(), blob: blob, at: r.String()}
	}
	return o, nil
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
