package serve

import (
	"encoding/binary"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/kilnbuild/kiln/warehouse/reapi/grpc"
	"github.com/kilnbuild/kiln/warehouse/reapi/remote"
	"github.com/kilnbuild/kiln/warehouse/serve/keep"
)

// BenchmarkWrite hands in contents of 16 MiB, one stream after the other.
func BenchmarkWrite(b *testing.B) {
	s := start(b, Options{MaxBytes: 256 << 20})
	c := s.dial(b)
	data := noise(b, 16<<20)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for n := uint64(0); b.Loop(); n++ {
		binary.LittleEndian.PutUint64(data, n)
		_, err := putStream(b.Context(), c, upload(remote.DigestOf(data)), data, 1<<20)
		must(b, err)
	}
}

// BenchmarkRead reads one of them again and again, as it is and compressed.
func BenchmarkRead(b *testing.B) {
	s := start(b, Options{})
	c := s.dial(b)
	data := noise(b, 16<<20)
	d := remote.DigestOf(data)
	_, err := putStream(b.Context(), c, upload(d), data, 1<<20)
	must(b, err)
	for name, compressor := range map[string]remote.Compressor{"identity": remote.Identity, "zstd": remote.Zstd} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(d.Size)
			b.ReportAllocs()
			for b.Loop() {
				_, err := getStream(b.Context(), c, remote.ReadRequest{Resource: remote.ReadName("", d, compressor)})
				must(b, err)
			}
		})
	}
}

// BenchmarkBatch hands in 1,000 small contents at a time, which are new.
func BenchmarkBatch(b *testing.B) {
	s := start(b, Options{MaxBytes: 256 << 20})
	c := s.dial(b)
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		var blobs []remote.BlobUpdate
		for i := range 1000 {
			blobs = append(blobs, blob(fmt.Appendf(nil, "content %d of %d", i, n)))
		}
		must(b, c.Call(b.Context(), remote.BatchUpdateBlobs, &remote.BatchUpdateBlobsRequest{Blobs: blobs}, new(remote.BatchUpdateBlobsResponse)))
	}
}

// BenchmarkAction looks a result up that refers to 100 files.
func BenchmarkAction(b *testing.B) {
	s := start(b, Options{})
	c := s.dial(b)
	var result remote.ActionResult
	for i := range 100 {
		d := putAll(b, c, fmt.Appendf(nil, "file %d", i))[0]
		result.Files = append(result.Files, remote.OutputFile{Path: fmt.Sprint(i), Digest: d})
	}
	action := remote.DigestOf([]byte("action"))
	must(b, s.keepAction("", action, grpc.Marshal(&result)))
	b.ReportAllocs()
	for b.Loop() {
		must(b, c.Call(b.Context(), remote.GetActionResult, &remote.GetActionResultRequest{Action: action}, new(remote.Raw)))
	}
}

// BenchmarkOpen opens a store in which 10,000 objects are.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s, err := keep.Open(dir, 1<<30)
	must(b, err)
	var writing errgroup.Group
	writing.SetLimit(64)
	for i := range 10_000 {
		writing.Go(func() error {
			name, err := keep.ParseSum(remote.DigestOf(fmt.Appendf(nil, "%d", i)).Hash)
			if err != nil {
				return err
			}
			return s.SetValue(keep.Memos, name, []byte("memo"))
		})
	}
	must(b, writing.Wait())
	must(b, s.Close())
	for b.Loop() {
		s, err := keep.Open(dir, 1<<30)
		must(b, err)
		must(b, s.Close())
	}
}
