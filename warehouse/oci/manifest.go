package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/kilnbuild/kiln/internal/retry"
)

// What an artifact says that it is. docs/formats.md, section 19.
const (
	wareType       = "application/vnd.kiln.ware.v1"
	memoType       = "application/vnd.kiln.memo.v1"
	nameAnnotation = "com.github.kilnbuild.kiln.name"
)

// maxManifest bounds what is read of a manifest, in bytes: kiln's have 700.
const maxManifest = 1 << 20

func artifactType(object string) string {
	if strings.HasPrefix(object, "memo:") {
		return memoType
	}
	return wareType
}

// forms are what the packed form of a ware begins with, and how its media type ends.
var forms = []struct {
	offset             int
	magic, suffix, ext string
}{
	{0, "\x28\xb5\x2f\xfd", ".tar+zstd", ".tar.zst"},
	{0, "\x1f\x8b", ".tar+gzip", ".tar.gz"},
	{0, "PK", "+zip", ".zip"},
	{257, "ustar", ".tar", ".tar"},
}

// form returns the media type of an object's bytes and how the name of a file that holds
// them ends.
func form(object string, body io.ReaderAt) (mediaType, ext string) {
	if artifactType(object) == memoType {
		return memoType + "+json", ".json"
	}
	head := make([]byte, 512)
	n, _ := body.ReadAt(head, 0)
	for _, f := range forms {
		if n > f.offset && bytes.HasPrefix(head[f.offset:n], []byte(f.magic)) {
			return wareType + f.suffix, f.ext
		}
	}
	return "application/octet-stream", ""
}

// manifest describes an object whose bytes are blob, kept under tag.
func manifest(object, tag, ext string, blob v1.Descriptor) ([]byte, error) {
	blob.Annotations = map[string]string{v1.AnnotationTitle: tag + ext}
	return json.Marshal(v1.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    v1.MediaTypeImageManifest,
		ArtifactType: artifactType(object),
		Config:       v1.DescriptorEmptyJSON,
		Layers:       []v1.Descriptor{blob},
		Annotations:  map[string]string{nameAnnotation: object},
	})
}

// find returns where the bytes of an object are.
func (r *Repository) find(ctx context.Context, object string) (tag string, blob v1.Descriptor, err error) {
	if tag, err = r.tag(object); err != nil {
		return tag, blob, err
	}
	q := request{method: http.MethodGet, at: "manifests/" + tag, what: "tag " + tag, header: http.Header{"Accept": {v1.MediaTypeImageManifest}}}
	var data []byte
	err = r.o.Retry.Do(ctx, func() error {
		resp, err := r.once(ctx, q, []int{http.StatusOK})
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		data, err = io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
		if err == nil && len(data) > maxManifest {
			err = retry.Final(fmt.Errorf("a manifest of more than %d bytes", maxManifest))
		}
		return err
	})
	if err == nil {
		blob, err = parseManifest(data, object)
	}
	return tag, blob, r.explain(ctx, q, err)
}

func parseManifest(data []byte, object string) (v1.Descriptor, error) {
	var m v1.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return v1.Descriptor{}, errors.New("what it gives is no manifest")
	}
	if want := artifactType(object); m.ArtifactType != want || len(m.Layers) != 1 {
		return v1.Descriptor{}, fmt.Errorf("what is there is an artifact of type %q with %d layers, not one of type %s with one: it is none that kiln put there", m.ArtifactType, len(m.Layers), want)
	}
	if got := m.Annotations[nameAnnotation]; got != object {
		return v1.Descriptor{}, fmt.Errorf("what is there calls itself %q, not %s", got, object)
	}
	blob := m.Layers[0]
	if err := blob.Digest.Validate(); err != nil || blob.Digest.Algorithm() != digest.SHA256 || blob.Size < 0 {
		return v1.Descriptor{}, fmt.Errorf("its layer has the digest %q and %d bytes: want a sha256", blob.Digest, blob.Size)
	}
	return blob, nil
}
