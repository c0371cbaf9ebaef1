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
	"github.com/kilnbuild/kiln/warehouse/packed"
)

// What an artifact says that it is. docs/formats.md, section 19.
const (
	wareType       = "application/vnd.kiln.ware.v1"
	memoType       = "application/vnd.kiln.memo.v1"
	partType       = "application/octet-stream"
	nameAnnotation = "com.github.kilnbuild.kiln.name"
)

// maxManifest bounds what is read of a manifest, in bytes: kiln's have 700, and 300 more
// for each further piece.
const maxManifest = 1 << 20

// maxPiece is how large a piece may be, in bytes: the sum of them can be counted.
const maxPiece = 1 << 50

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
	return partType, ""
}

// manifest describes an object whose bytes are pieces, one after the other, kept under tag.
func manifest(object, tag, ext string, pieces []v1.Descriptor) ([]byte, error) {
	for i := range pieces {
		title := tag + ext
		if len(pieces) > 1 {
			title += fmt.Sprintf(".%04d", i)
		}
		pieces[i].Annotations = map[string]string{v1.AnnotationTitle: title}
	}
	return json.Marshal(v1.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    v1.MediaTypeImageManifest,
		ArtifactType: artifactType(object),
		Config:       v1.DescriptorEmptyJSON,
		Layers:       pieces,
		Annotations:  map[string]string{nameAnnotation: object},
	})
}

// find returns where the bytes of an object are.
func (r *Repository) find(ctx context.Context, object string) (pieces, error) {
	tag, err := r.tag(object)
	if err != nil {
		return nil, err
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
	if err != nil {
		return nil, r.explain(ctx, q, err)
	}
	list, err := parseManifest(data, object)
	return list, r.explain(ctx, q, err)
}

// pieces are the blobs that an object is made of, one after the other: most have one.
type pieces []v1.Descriptor

// info returns what is known of the object. Its version is the digest of the one piece, or
// that of the digests of all.
func (p pieces) info() packed.Info {
	info := packed.Info{Version: p[0].Digest.String()}
	var digests strings.Builder
	for _, piece := range p {
		info.Size += piece.Size
		digests.WriteString(piece.Digest.String() + "\n")
	}
	if len(p) > 1 {
		info.Version = digest.FromString(digests.String()).String()
	}
	return info
}

// at returns which piece the byte at offset is in, and where that begins.
func (p pieces) at(offset int64) (i int, begin int64) {
	for i < len(p)-1 && begin+p[i].Size <= offset {
		begin += p[i].Size
		i++
	}
	return i, begin
}

func parseManifest(data []byte, object string) (pieces, error) {
	var m v1.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, errors.New("what it gives is no manifest")
	}
	if want := artifactType(object); m.ArtifactType != want || len(m.Layers) == 0 {
		return nil, fmt.Errorf("what is there is an artifact of type %q with %d layers, not one of type %s: it is none that kiln put there", m.ArtifactType, len(m.Layers), want)
	}
	if got := m.Annotations[nameAnnotation]; got != object {
		return nil, fmt.Errorf("what is there calls itself %q, not %s", got, object)
	}
	for _, blob := range m.Layers {
		if err := blob.Digest.Validate(); err != nil || blob.Digest.Algorithm() != digest.SHA256 || blob.Size < 0 || blob.Size > maxPiece {
			return nil, fmt.Errorf("its layer has the digest %q and %d bytes: want a sha256", blob.Digest, blob.Size)
		}
	}
	return m.Layers, nil
}
