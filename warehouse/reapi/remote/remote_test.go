package remote

import (
	"strings"
	"testing"

	"github.com/kilnbuild/kiln/warehouse"
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

// The vectors of docs/formats.md, "Wares and memos over REAPI".
func TestActions(t *testing.T) {
	empty := warehouse.WareID{Packtype: "tree", Hash: "5cd5ef42d5253c50873cd13db2574f307c78695fdd1018ddb036dae44f60d08c-7"}
	for got, want := range map[Digest]string{
		WareAction(empty): "808727a87589743dab23ac33a07ec2f2a58eb6695ef5d69e5e505988cf3b2037-138",
		MemoAction(warehouse.StepKey(strings.Repeat("0", 64))): "284f9e07a67757b1ad62da5ff9f7ed965b8532f1fab2f3c7a58d7f6fca3fe72b-138",
	} {
		if got.String() != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
