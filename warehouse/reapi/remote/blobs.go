package remote

import "github.com/kilnbuild/kiln/warehouse/reapi/grpc"

// FindMissingBlobsRequest asks which contents a server lacks.
type FindMissingBlobsRequest struct {
	Instance string
	Digests  []Digest
	Function DigestFunction
}

func (m *FindMissingBlobsRequest) Fields(f *grpc.Fields) {
	f.String(1, &m.Instance)
	grpc.Subs(f, 2, &m.Digests)
	grpc.Enum(f, 3, &m.Function)
}

// FindMissingBlobsResponse says which.
type FindMissingBlobsResponse struct{ Missing []Digest }

func (m *FindMissingBlobsResponse) Fields(f *grpc.Fields) { grpc.Subs(f, 2, &m.Missing) }

// BatchUpdateBlobsRequest gives contents to a server.
type BatchUpdateBlobsRequest struct {
	Instance string
	Blobs    []BlobUpdate
	Function DigestFunction
}

// A BlobUpdate is one content given.
type BlobUpdate struct {
	Digest     Digest // of the content, before compression
	Data       []byte
	Compressor Compressor
}

func (m *BatchUpdateBlobsRequest) Fields(f *grpc.Fields) {
	f.String(1, &m.Instance)
	grpc.Subs(f, 2, &m.Blobs)
	grpc.Enum(f, 5, &m.Function)
}

func (m *BlobUpdate) Fields(f *grpc.Fields) {
	value(f, 1, &m.Digest)
	f.Bytes(2, &m.Data)
	grpc.Enum(f, 3, &m.Compressor)
}

// BatchUpdateBlobsResponse says of each what became of it.
type BatchUpdateBlobsResponse struct{ Blobs []BlobUpdated }

// A BlobUpdated is what became of one content.
type BlobUpdated struct {
	Digest Digest
	Status *Status
}

func (m *BatchUpdateBlobsResponse) Fields(f *grpc.Fields) { grpc.Subs(f, 1, &m.Blobs) }

func (m *BlobUpdated) Fields(f *grpc.Fields) {
	value(f, 1, &m.Digest)
	grpc.Sub(f, 2, &m.Status)
}

// BatchReadBlobsRequest asks for contents, which must fit into one message.
type BatchReadBlobsRequest struct {
	Instance   string
	Digests    []Digest
	Acceptable []Compressor // beside Identity
	Function   DigestFunction
}

func (m *BatchReadBlobsRequest) Fields(f *grpc.Fields) {
	f.String(1, &m.Instance)
	grpc.Subs(f, 2, &m.Digests)
	grpc.Enums(f, 3, &m.Acceptable)
	grpc.Enum(f, 4, &m.Function)
}

// BatchReadBlobsResponse gives them.
type BatchReadBlobsResponse struct{ Blobs []BlobRead }

// A BlobRead is one content, or why there is none.
type BlobRead struct {
	Digest     Digest
	Data       []byte
	Status     *Status
	Compressor Compressor
}

func (m *BatchReadBlobsResponse) Fields(f *grpc.Fields) { grpc.Subs(f, 1, &m.Blobs) }

func (m *BlobRead) Fields(f *grpc.Fields) {
	value(f, 1, &m.Digest)
	f.Bytes(2, &m.Data)
	grpc.Sub(f, 3, &m.Status)
	grpc.Enum(f, 4, &m.Compressor)
}

// GetTreeRequest asks for the Directory messages of a tree.
type GetTreeRequest struct {
	Instance  string
	Root      Digest
	PageSize  int32
	PageToken string
	Function  DigestFunction
}

func (m *GetTreeRequest) Fields(f *grpc.Fields) {
	f.String(1, &m.Instance)
	value(f, 2, &m.Root)
	f.Int32(3, &m.PageSize)
	f.String(4, &m.PageToken)
	grpc.Enum(f, 5, &m.Function)
}

// GetTreeResponse gives some of them, in any order.
type GetTreeResponse struct {
	Directories   [][]byte // Directory messages
	NextPageToken string
}

func (m *GetTreeResponse) Fields(f *grpc.Fields) {
	f.ByteSlices(1, &m.Directories)
	f.String(2, &m.NextPageToken)
}

// value is a field that is a digest, which is not written when it is the zero one.
func value(f *grpc.Fields, n int, d *Digest) {
	p := d
	if *d == (Digest{}) && !f.Reading() {
		p = nil
	}
	grpc.Sub(f, n, &p)
}
