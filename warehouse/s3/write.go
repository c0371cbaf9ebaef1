package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/internal/retry"
)

// Put makes an object. The server compares the SHA-256 of every request's bytes before
// it keeps them, and shows an object when it has all of it.
func (b *Bucket) Put(ctx context.Context, name string, body io.ReaderAt, size int64) error {
	if size > b.o.PartSize {
		return b.putParts(ctx, b.key(name), body, size)
	}
	resp, err := b.put(ctx, b.key(name), nil, io.NewSectionReader(body, 0, size))
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

func (b *Bucket) put(ctx context.Context, key string, query url.Values, body *io.SectionReader) (*http.Response, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(body, 0, body.Size())); err != nil {
		return nil, err
	}
	return b.send(ctx, request{method: http.MethodPut, key: key, query: query, body: body, sum: hex.EncodeToString(sum.Sum(nil))})
}

// A part is one of an upload, as S3 wants it to be named at the end.
type part struct {
	PartNumber int
	ETag       string
}

// putParts makes an object of parts that are sent side by side. When it fails, also
// because ctx has ended, no part stays.
func (b *Bucket) putParts(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	id, err := b.begin(ctx, key)
	if err != nil {
		return err
	}
	parts, err := b.sendParts(ctx, key, id, body, size)
	if err == nil {
		err = b.complete(ctx, key, id, parts, size)
	}
	if err != nil {
		return errors.Join(err, b.abort(ctx, key, id))
	}
	return nil
}

func (b *Bucket) begin(ctx context.Context, key string) (id string, err error) {
	var answer struct{ UploadId string }
	if err := b.post(ctx, key, url.Values{"uploads": {""}}, nil, &answer); err != nil {
		return "", err
	}
	if answer.UploadId == "" {
		return "", fmt.Errorf("%s, key %s: the server began an upload and gave it no id", b.where(), key)
	}
	return answer.UploadId, nil
}

func (b *Bucket) sendParts(ctx context.Context, key, id string, body io.ReaderAt, size int64) ([]part, error) {
	each := b.partSize(size)
	parts := make([]part, (size+each-1)/each)
	g, going := errgroup.WithContext(ctx)
	g.SetLimit(b.o.Parallel)
	for i := range parts {
		g.Go(func() error {
			if going.Err() != nil {
				return context.Cause(going)
			}
			// When another one fails, what is under way ends by itself: a part that a server
			// has received may come to be when its upload has been removed.
			from := int64(i) * each
			query := url.Values{"partNumber": {strconv.Itoa(i + 1)}, "uploadId": {id}}
			resp, err := b.put(ctx, key, query, io.NewSectionReader(body, from, min(each, size-from)))
			if err != nil {
				return err
			}
			parts[i] = part{i + 1, resp.Header.Get("Etag")}
			return resp.Body.Close()
		})
	}
	return parts, g.Wait()
}

// partSize returns the size of all parts but the last: that of the options, or what
// keeps their number within S3's limit.
func (b *Bucket) partSize(size int64) int64 {
	const unit = 1 << 20
	least := (size + maxParts - 1) / maxParts
	return max(b.o.PartSize, (least+unit-1)/unit*unit)
}

func (b *Bucket) complete(ctx context.Context, key, id string, parts []part, size int64) error {
	body := struct {
		XMLName xml.Name `xml:"http://s3.amazonaws.com/doc/2006-03-01/ CompleteMultipartUpload"`
		Part    []part
	}{Part: parts}
	data, err := xml.Marshal(body)
	if err != nil {
		return err
	}
	err = b.post(ctx, key, url.Values{"uploadId": {id}}, data, nil)
	if f := asFault(err); f != nil && f.Code == "NoSuchUpload" {
		// An answer that was lost, or another's clean-up: the object tells.
		if resp, headErr := b.send(ctx, request{method: http.MethodHead, key: key}); headErr == nil {
			resp.Body.Close()
			if resp.ContentLength == size {
				return nil
			}
		}
	}
	return err
}

// abortTime is how long removing an upload may take when nobody waits for the ware any
// more.
const abortTime = 15 * time.Second

// abortTries is how often an upload is removed that is still there: parts that were under
// way may come to be after it was, as S3's documentation of AbortMultipartUpload says.
const abortTries = 3

// abort removes what was sent of an upload.
func (b *Bucket) abort(ctx context.Context, key, id string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTime)
	defer cancel()
	for range abortTries {
		resp, err := b.send(ctx, request{method: http.MethodDelete, key: key, query: url.Values{"uploadId": {id}}})
		if f := asFault(err); f != nil && f.Code == "NoSuchUpload" {
			return nil
		}
		if err != nil {
			return fmt.Errorf("parts of it may be left in the bucket: %w", err)
		}
		if err := resp.Body.Close(); err != nil {
			return err
		}
	}
	return nil
}

// post sends data and reads the answer into v, if it is not nil. S3 may find out that
// it cannot after it has begun to answer with success.
func (b *Bucket) post(ctx context.Context, key string, query url.Values, data []byte, v any) error {
	sum := sha256.Sum256(data)
	r := request{method: http.MethodPost, key: key, query: query, sum: hex.EncodeToString(sum[:]),
		body: io.NewSectionReader(bytes.NewReader(data), 0, int64(len(data)))}
	err := b.o.Retry.Do(ctx, func() error {
		resp, err := b.try(ctx, r)
		if err != nil {
			return err
		}
		return readAnswer(resp, v)
	})
	if err != nil {
		return b.explain(ctx, r, err)
	}
	return nil
}

func readAnswer(resp *http.Response, v any) error {
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxFault))
	if err != nil {
		return err
	}
	var late struct {
		XMLName xml.Name
		fault
	}
	if xml.Unmarshal(data, &late) == nil && late.XMLName.Local == "Error" {
		late.status = resp.StatusCode
		if late.Code == "InternalError" || late.Code == "SlowDown" || late.Code == "ServiceUnavailable" {
			return &late.fault
		}
		return retry.Final(&late.fault)
	}
	if v == nil {
		return nil
	}
	return xml.Unmarshal(data, v)
}
