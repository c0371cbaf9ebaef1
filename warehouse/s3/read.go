package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/kilnbuild/kiln/warehouse"
	warehousehttp "github.com/kilnbuild/kiln/warehouse/http"
	"github.com/kilnbuild/kiln/warehouse/packed"
)

// Open begins to read an object. Its version is the ETag.
func (b *Bucket) Open(ctx context.Context, name string, offset int64, version string) (*packed.Object, error) {
	r := request{method: http.MethodGet, key: b.key(name), header: http.Header{}}
	if offset > 0 {
		r.header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
		if version != "" {
			r.header.Set("If-Match", version)
		}
	}
	resp, err := b.send(ctx, r)
	if f := asFault(err); offset > 0 && f != nil && (f.status == http.StatusPreconditionFailed || f.status == http.StatusRequestedRangeNotSatisfiable) {
		return b.Open(ctx, name, 0, "")
	}
	if err != nil {
		return nil, err
	}
	o, err := warehousehttp.ObjectOf(resp, offset)
	if err == nil && o.Offset != 0 && version != "" && o.Version != version {
		err = errors.New("the server sent another version than was asked for")
	}
	if err != nil {
		resp.Body.Close()
		if offset > 0 {
			return b.Open(ctx, name, 0, "") // who answers so does not know ranges
		}
		return nil, fmt.Errorf("%s, key %s: %w", b.where(), r.key, err)
	}
	return o, nil
}

// Stat returns the size and the ETag of an object.
func (b *Bucket) Stat(ctx context.Context, name string) (packed.Info, error) {
	resp, err := b.send(ctx, request{method: http.MethodHead, key: b.key(name)})
	if errors.Is(err, warehouse.ErrMissing) {
		if bucketErr := b.checkBucket(ctx); bucketErr != nil {
			return packed.Info{}, bucketErr
		}
	}
	if err != nil {
		return packed.Info{}, err
	}
	resp.Body.Close()
	return packed.Info{Size: resp.ContentLength, Version: resp.Header.Get("Etag")}, nil
}

// checkBucket tells a missing key, for which HEAD gives the same answer, from a missing
// bucket. It asks once.
func (b *Bucket) checkBucket(ctx context.Context) error {
	if b.place.bucket == "" || b.exists.Load() {
		return nil
	}
	resp, err := b.send(ctx, request{method: http.MethodGet, key: b.key("bucket:is-there")})
	if err == nil {
		resp.Body.Close()
	}
	if f := asFault(err); f != nil && f.Code == "NoSuchBucket" {
		return err
	}
	b.exists.Store(true)
	return nil
}

// asFault returns the fault that err tells of, or nil.
func asFault(err error) *fault {
	var f *fault
	errors.As(err, &f)
	return f
}
