package serve

import (
	"context"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
)

func (s *Server) handleCapabilities(g *grpc.Server) {
	g.Handle(remote.GetCapabilities, grpc.Unary(s.capabilities))
	g.Handle(healthCheck, grpc.Unary(func(context.Context, *remote.Raw) (*remote.Raw, error) {
		return &remote.Raw{1 << 3, 1}, nil // HealthCheckResponse: status SERVING
	}))
}

// healthCheck is the method that probes of gRPC servers call, doc/health-checking.md of
// github.com/grpc/grpc.
const healthCheck = "/grpc.health.v1.Health/Check"

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
