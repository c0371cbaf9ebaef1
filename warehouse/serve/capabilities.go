package serve

import (
	"context"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

func (s *Server) handleCapabilities(g *grpc.Server) {
	g.Handle(remote.GetCapabilities, grpc.Unary(s.capabilities))
}

// capabilities tells what the server can do for who asks.
func (s *Server) capabilities(ctx context.Context, _ *remote.GetCapabilitiesRequest) (*remote.ServerCapabilities, error) {
	return &remote.ServerCapabilities{
		Cache: &remote.CacheCapabilities{
			Functions:        []remote.DigestFunction{remote.SHA256},
			ActionUpdates:    &remote.ActionUpdates{Enabled: mayWrite(ctx) == nil},
			MaxBatch:         maxBatch,
			SymlinkAbsolute:  2, // wares may have any
			Compressors:      []remote.Compressor{remote.Zstd},
			BatchCompressors: []remote.Compressor{remote.Zstd},
			MaxBlob:          s.o.MaxBytes,
		},
		Low:  &remote.SemVer{Major: 2},
		High: &remote.SemVer{Major: 2, Minor: 3},
	}, nil
}
