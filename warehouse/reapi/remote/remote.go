// Package remote has the messages and methods of the Remote Execution API, version 2,
// that a cache consists of: those of build/bazel/remote/execution/v2/remote_execution.proto
// in github.com/bazelbuild/remote-apis and of google/bytestream/bytestream.proto, without
// what only remote execution uses. Packages reapi and serve speak it from either end.
//
// Directory messages and action results are bytes in other messages, as they are on the
// wire: a digest is over the bytes, and what an unknown client put into a result is passed
// on as it is.
package remote

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
)

// Names of the methods.
const (
	GetActionResult    = "/build.bazel.remote.execution.v2.ActionCache/GetActionResult"
	UpdateActionResult = "/build.bazel.remote.execution.v2.ActionCache/UpdateActionResult"
	GetCapabilities    = "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities"
	FindMissingBlobs   = "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs"
	BatchUpdateBlobs   = "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs"
	BatchReadBlobs     = "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchReadBlobs"
	GetTree            = "/build.bazel.remote.execution.v2.ContentAddressableStorage/GetTree"
	Read               = "/google.bytestream.ByteStream/Read"
	Write              = "/google.bytestream.ByteStream/Write"
	QueryWriteStatus   = "/google.bytestream.ByteStream/QueryWriteStatus"
)

// MetadataHeader carries an encoded RequestMetadata, in base64.
const MetadataHeader = "Build.bazel.remote.execution.v2.requestmetadata-Bin"

// A Digest names content by its hash and size.
type Digest struct {
	Hash string // 64 hex digits in lower case: SHA-256
	Size int64  // bytes
}

// Fields implements grpc.Message, as for all messages here.
func (m *Digest) Fields(f *grpc.Fields) {
	f.String(1, &m.Hash)
	f.Int64(2, &m.Size)
}

// DigestOf returns the digest of b.
func DigestOf(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest{hex.EncodeToString(sum[:]), int64(len(b))}
}

// ParseDigest reads "HASH-SIZE" or "HASH/SIZE", as in the ids of tree wares and the
// names of resources.
func ParseDigest(s string) (Digest, error) {
	i := strings.IndexAny(s, "-/")
	if i < 0 {
		return Digest{}, fmt.Errorf("digest %q: want a hash and a size", s)
	}
	size, err := strconv.ParseInt(s[i+1:], 10, 64)
	d := Digest{s[:i], size}
	if err == nil {
		err = d.Check()
	}
	if err != nil {
		return Digest{}, fmt.Errorf("digest %q: %w", s, err)
	}
	return d, nil
}

// Check reports whether d can be the digest of something.
func (m Digest) Check() error {
	if m.Size < 0 {
		return errors.New("its size is negative")
	}
	if len(m.Hash) != 2*sha256.Size || strings.Trim(m.Hash, "0123456789abcdef") != "" {
		return errors.New("its hash is not a SHA-256")
	}
	return nil
}

// String returns "HASH-SIZE".
func (m Digest) String() string { return m.Hash + "-" + strconv.FormatInt(m.Size, 10) }

// A DigestFunction is what digests are made with; 0 in requests means the one
// that fits the length of their hashes.
type DigestFunction int32

// SHA256 is the one that kiln uses.
const SHA256 DigestFunction = 1

// A Compressor is how contents are compressed in messages and streams.
type Compressor int32

// The compressors that kiln knows.
const (
	Identity Compressor = 0
	Zstd     Compressor = 1
)

// Status is google.rpc.Status.
type Status struct {
	Code    int32
	Message string
}

func (m *Status) Fields(f *grpc.Fields) {
	f.Int32(1, &m.Code)
	f.String(2, &m.Message)
}

// Err returns the status as an error, nil if it is absent or OK.
func (m *Status) Err() error {
	if m == nil || m.Code == 0 {
		return nil
	}
	return &grpc.Error{Code: grpc.Code(m.Code), Message: m.Message}
}
