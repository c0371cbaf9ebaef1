package remote

import (
	"testing"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
)

func TestResourceNames(t *testing.T) {
	d := DigestOf([]byte("hello"))
	for _, want := range []Resource{
		{Digest: d},
		{Digest: d, Instance: "a/b"},
		{Digest: d, Compressor: Zstd},
		{Digest: d, Upload: "id"},
		{Digest: d, Upload: "id", Instance: "a", Compressor: Zstd},
	} {
		name := ReadName(want.Instance, d, want.Compressor)
		if want.Upload != "" {
			name = WriteName(want.Instance, want.Upload, d, want.Compressor)
		}
		for _, name := range []string{name, name + "/file.txt"} {
			if got, err := ParseResource(name); err != nil || got != want {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
	}
	for _, name := range []string{
		"", "blobs", "blobs/" + d.Hash, "blobs/" + d.Hash + "/-1", "blobs/xyz/3", "uploads/blobs/" + d.Hash + "/5",
		"compressed-blobs/lzma/" + d.Hash + "/5", "compressed-blobs", "uploads/id", "uploads/id/files/" + d.Hash + "/5",
		"blobs/ABCDEF" + d.Hash[6:] + "/5",
	} {
		if got, err := ParseResource(name); grpc.CodeOf(err) != grpc.InvalidArgument {
			t.Errorf("%q: %+v, %v", name, got, err)
		}
	}
}
