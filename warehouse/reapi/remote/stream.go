package remote

import (
	"fmt"
	"strings"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
)

// ReadRequest asks for a content from an offset on.
type ReadRequest struct {
	Resource string // ReadName
	Offset   int64  // bytes of the content, also where it is sent compressed
	Limit    int64  // 0: none
}

func (m *ReadRequest) Fields(f *grpc.Fields) {
	f.String(1, &m.Resource)
	f.Int64(2, &m.Offset)
	f.Int64(3, &m.Limit)
}

// ReadResponse is a piece of it.
type ReadResponse struct{ Data []byte }

func (m *ReadResponse) Fields(f *grpc.Fields) { f.Bytes(10, &m.Data) }

// WriteRequest is a piece of a content being given.
type WriteRequest struct {
	Resource string // WriteName; may be left out but in the first
	Offset   int64  // bytes sent before, of what is sent: compressed, if it is
	Finish   bool   // there is nothing behind this piece
	Data     []byte
}

func (m *WriteRequest) Fields(f *grpc.Fields) {
	f.String(1, &m.Resource)
	f.Int64(2, &m.Offset)
	f.Bool(3, &m.Finish)
	f.Bytes(10, &m.Data)
}

// WriteResponse says how many bytes of what was sent the server has. One that had the
// content already says its size; -1, if it was to be sent compressed.
type WriteResponse struct{ Committed int64 }

func (m *WriteResponse) Fields(f *grpc.Fields) { f.Int64(1, &m.Committed) }

// QueryWriteStatusRequest asks how far a Write got that was interrupted.
type QueryWriteStatusRequest struct{ Resource string }

func (m *QueryWriteStatusRequest) Fields(f *grpc.Fields) { f.String(1, &m.Resource) }

// QueryWriteStatusResponse says where to go on.
type QueryWriteStatusResponse struct {
	Committed int64
	Complete  bool
}

func (m *QueryWriteStatusResponse) Fields(f *grpc.Fields) {
	f.Int64(1, &m.Committed)
	f.Bool(2, &m.Complete)
}

// ReadName returns the name of the resource that is a content, of the instance.
func ReadName(instance string, d Digest, c Compressor) string {
	name := "blobs/" + d.Hash
	if c == Zstd {
		name = "compressed-blobs/zstd/" + d.Hash
	}
	if instance != "" {
		name = instance + "/" + name
	}
	return fmt.Sprintf("%s/%d", name, d.Size)
}

// WriteName returns the name of the resource that becomes a content. The upload's id,
// a UUID, keeps those of several clients apart.
func WriteName(instance, id string, d Digest, c Compressor) string {
	name := "uploads/" + id + "/" + ReadName("", d, c)
	if instance != "" {
		name = instance + "/" + name
	}
	return name
}

// A Resource is what the name of one says.
type Resource struct {
	Instance   string
	Upload     string // id; "" of one to read
	Digest     Digest
	Compressor Compressor
}

// ParseResource undoes ReadName and WriteName. A name may have more behind it, which
// is for people.
func ParseResource(name string) (r Resource, err error) {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		switch part {
		case "uploads":
			if i+2 >= len(parts) {
				return r, unknownResource(name)
			}
			r.Instance, r.Upload = strings.Join(parts[:i], "/"), parts[i+1]
			return r, r.content(name, parts[i+2:])
		case "blobs", "compressed-blobs":
			r.Instance = strings.Join(parts[:i], "/")
			return r, r.content(name, parts[i:])
		}
	}
	return r, unknownResource(name)
}

// content reads "blobs/HASH/SIZE" or "compressed-blobs/COMPRESSOR/HASH/SIZE", maybe
// with the name of the digest function before the hash.
func (r *Resource) content(name string, parts []string) (err error) {
	if parts[0] == "compressed-blobs" && len(parts) > 1 {
		switch parts[1] {
		case "zstd":
			r.Compressor = Zstd
		case "identity":
		default:
			return grpc.Errorf(grpc.InvalidArgument, "resource %q: compressor %q is not supported", name, parts[1])
		}
		parts = parts[1:]
	} else if parts[0] != "blobs" {
		return unknownResource(name)
	}
	if parts = parts[1:]; len(parts) < 2 {
		return unknownResource(name)
	}
	if r.Digest, err = ParseDigest(parts[0] + "/" + parts[1]); err != nil {
		return grpc.Errorf(grpc.InvalidArgument, "resource %q: %v", name, err)
	}
	return nil
}

func unknownResource(name string) error {
	return grpc.Errorf(grpc.InvalidArgument, "resource %q: want blobs/HASH/SIZE or uploads/UUID/blobs/HASH/SIZE", name)
}
