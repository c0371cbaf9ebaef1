package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/warehouse"
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
	o, err := object(resp)
	if err == nil && o.Offset != 0 && (o.Offset != offset || version != "" && o.Version != version) {
		err = errOtherRange
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

var errOtherRange = errors.New("the server sent another part than was asked for")

// object reads what an answer says of itself.
func object(resp *http.Response) (*packed.Object, error) {
	o := &packed.Object{ReadCloser: resp.Body, Info: packed.Info{Size: resp.ContentLength, Version: resp.Header.Get("Etag")}}
	if resp.StatusCode != http.StatusPartialContent {
		return o, nil
	}
	// bytes FIRST-LAST/SIZE
	span, size, _ := strings.Cut(strings.TrimPrefix(resp.Header.Get("Content-Range"), "bytes "), "/")
	first, _, _ := strings.Cut(span, "-")
	var err error
	if o.Offset, err = strconv.ParseInt(first, 10, 64); err != nil {
		return nil, errOtherRange
	}
	if o.Size, err = strconv.ParseInt(size, 10, 64); err != nil {
		o.Size = -1
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
