package remote

import "github.com/kilnbuild/kiln/warehouse/reapi/grpc"

// GetCapabilitiesRequest asks what a server can do.
type GetCapabilitiesRequest struct{ Instance string }

func (m *GetCapabilitiesRequest) Fields(f *grpc.Fields) { f.String(1, &m.Instance) }

// ServerCapabilities says it.
type ServerCapabilities struct {
	Cache      *CacheCapabilities
	Deprecated *SemVer
	Low, High  *SemVer // of the API
}

func (m *ServerCapabilities) Fields(f *grpc.Fields) {
	grpc.Sub(f, 1, &m.Cache)
	grpc.Sub(f, 3, &m.Deprecated)
	grpc.Sub(f, 4, &m.Low)
	grpc.Sub(f, 5, &m.High)
}

// SemVer is a version.
type SemVer struct{ Major, Minor, Patch int32 }

func (m *SemVer) Fields(f *grpc.Fields) {
	f.Int32(1, &m.Major)
	f.Int32(2, &m.Minor)
	f.Int32(3, &m.Patch)
}

// CacheCapabilities says what a server's cache can do.
type CacheCapabilities struct {
	Functions        []DigestFunction
	ActionUpdates    *ActionUpdates
	MaxBatch         int64        // bytes of the contents of a batch; 0: as many as fit into a message
	SymlinkAbsolute  int32        // 1: not allowed, 2: allowed
	Compressors      []Compressor // of streams
	BatchCompressors []Compressor // of BatchUpdateBlobs
	MaxBlob          int64        // bytes of one content; 0: no limit
}

func (m *CacheCapabilities) Fields(f *grpc.Fields) {
	grpc.Enums(f, 1, &m.Functions)
	grpc.Sub(f, 2, &m.ActionUpdates)
	f.Int64(4, &m.MaxBatch)
	f.Int32(5, &m.SymlinkAbsolute)
	grpc.Enums(f, 6, &m.Compressors)
	grpc.Enums(f, 7, &m.BatchCompressors)
	f.Int64(8, &m.MaxBlob)
}

// ActionUpdates says whether a client may keep the results of actions.
type ActionUpdates struct{ Enabled bool }

func (m *ActionUpdates) Fields(f *grpc.Fields) { f.Bool(1, &m.Enabled) }

// RequestMetadata says who calls.
type RequestMetadata struct{ Tool *ToolDetails }

func (m *RequestMetadata) Fields(f *grpc.Fields) { grpc.Sub(f, 1, &m.Tool) }

// ToolDetails names a client.
type ToolDetails struct{ Name, Version string }

func (m *ToolDetails) Fields(f *grpc.Fields) {
	f.String(1, &m.Name)
	f.String(2, &m.Version)
}
