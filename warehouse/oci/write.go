package oci

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/internal/registry"
	"github.com/kilnbuild/kiln/internal/retry"
)

// Put makes an object: blobs, which are not sent again where the registry has them, also
// from a Put that was broken off, and a manifest, with which the tag moves.
func (r *Repository) Put(ctx context.Context, name string, body io.ReaderAt, size int64) error {
	tag, err := r.tag(name)
	if err != nil {
		return err
	}
	list, ext, err := r.cut(name, body, size)
	if err != nil {
		return err
	}
	data, err := manifest(name, tag, ext, list)
	if err != nil {
		return err
	}
	q := request{method: http.MethodPut, at: "manifests/" + tag, what: "tag " + tag, write: true,
		header: http.Header{"Content-Type": {v1.MediaTypeImageManifest}}, body: section(bytes.NewReader(data), int64(len(data)))}
	return r.o.Retry.Do(ctx, func() error {
		begin := int64(0)
		for _, piece := range list {
			if err := r.putBlob(ctx, piece, io.NewSectionReader(body, begin, piece.Size)); err != nil {
				return retry.Final(err)
			}
			begin += piece.Size
		}
		if err := r.putBlob(ctx, v1.DescriptorEmptyJSON, bytes.NewReader(v1.DescriptorEmptyJSON.Data)); err != nil {
			return retry.Final(err)
		}
		resp, err := r.once(ctx, q, []int{http.StatusCreated, http.StatusOK})
		switch {
		case err == nil:
			return resp.Body.Close()
		case registry.BlobGone(err):
			return r.explain(ctx, q, err)
		}
		return retry.As(err, r.explain(ctx, q, err))
	})
}

// cut describes the pieces of an object, and how the name of a file that holds it ends.
func (r *Repository) cut(name string, body io.ReaderAt, size int64) (list pieces, ext string, err error) {
	mediaType, ext := form(name, body)
	for begin := int64(0); begin < size || list == nil; begin += r.o.PieceSize {
		piece := v1.Descriptor{MediaType: mediaType, Size: min(size-begin, r.o.PieceSize)}
		if piece.Size < size {
			piece.MediaType = partType
		}
		if piece.Digest, err = sum(io.NewSectionReader(body, begin, piece.Size), piece.Size); err != nil {
			return nil, "", err
		}
		list = append(list, piece)
	}
	return list, ext, nil
}

func section(body io.ReaderAt, size int64) *io.SectionReader {
	return io.NewSectionReader(body, 0, size)
}

func sum(body io.ReaderAt, size int64) (digest.Digest, error) {
	h := sha256.New()
	if _, err := io.Copy(h, section(body, size)); err != nil {
		return "", err
	}
	return digest.NewDigest(digest.SHA256, h), nil
}

// putBlob sends a blob, if the registry does not have it.
func (r *Repository) putBlob(ctx context.Context, blob v1.Descriptor, body io.ReaderAt) error {
	q := request{method: http.MethodHead, at: "blobs/" + blob.Digest.String(), what: "blob " + blob.Digest.String()}
	err := r.o.Retry.Do(ctx, func() error {
		resp, err := r.once(ctx, q, []int{http.StatusOK})
		if err == nil {
			resp.Body.Close()
		}
		return err
	})
	if answer := answerOf(err); answer != nil && answer.StatusCode < 500 {
		// It is not there, or not to be read: whoever may push need not be let read.
		err = r.o.Retry.Do(ctx, func() error { return r.upload(ctx, q.what, blob, body) })
		q.write = true
	}
	return r.explain(ctx, q, err)
}

// upload sends a blob in one stream, as docker does: what every registry takes.
func (r *Repository) upload(ctx context.Context, what string, blob v1.Descriptor, body io.ReaderAt) (err error) {
	resp, err := r.once(ctx, request{method: http.MethodPost, at: "blobs/uploads/", what: what, write: true}, []int{http.StatusAccepted})
	if err != nil {
		return err
	}
	at, err := location(resp)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			r.forget(ctx, at)
		}
	}()
	resp, err = r.once(ctx, request{method: http.MethodPatch, at: at, what: what, write: true,
		header: http.Header{"Content-Type": {"application/octet-stream"}}, body: section(body, blob.Size)},
		[]int{http.StatusAccepted, http.StatusNoContent, http.StatusCreated})
	if err != nil {
		return lost(err)
	}
	if at, err = location(resp); err != nil {
		return err
	}
	resp, err = r.once(ctx, request{method: http.MethodPut, at: at, what: what, write: true, query: url.Values{"digest": {blob.Digest.String()}}},
		[]int{http.StatusCreated, http.StatusNoContent, http.StatusAccepted})
	if err != nil {
		return lost(err)
	}
	return resp.Body.Close()
}

// lost lets an upload that the registry knows nothing of any more, such as after it was
// started again, begin anew.
func lost(err error) error {
	if answer := answerOf(err); answer != nil && answer.StatusCode == http.StatusNotFound {
		return errors.New("the registry has forgotten the upload")
	}
	return err
}

// location returns where an upload goes on, and closes the answer.
func location(resp *http.Response) (string, error) {
	resp.Body.Close()
	at, err := resp.Location()
	if err != nil {
		return "", retry.Final(errors.New("the registry does not say where the upload goes on"))
	}
	return at.String(), nil
}

// forgetTime is how long ending an upload may take when nobody waits for it any more.
const forgetTime = 5 * time.Second

// forget ends an upload that failed, of which nobody would see anything. Registries that
// do not take that (docker's wants to be told how far it has come) remove it in time.
func (r *Repository) forget(ctx context.Context, at string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forgetTime)
	defer cancel()
	if resp, err := r.once(ctx, request{method: http.MethodDelete, at: at, write: true}, []int{http.StatusNoContent, http.StatusAccepted}); err == nil {
		resp.Body.Close()
	}
}
