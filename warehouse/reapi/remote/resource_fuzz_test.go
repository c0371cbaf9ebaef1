package remote

import (
	"testing"
)

// FuzzParseResource: what is read of a name gives a name of which the same is read, and
// nothing but digests gets through.
func FuzzParseResource(f *testing.F) {
	d := DigestOf([]byte("content"))
	for _, c := range []Compressor{Identity, Zstd} {
		for _, instance := range []string{"", "a", "a/b"} {
			f.Add(ReadName(instance, d, c))
			f.Add(WriteName(instance, "0-1-2", d, c) + "/for/people")
		}
	}
	f.Add("uploads/1/blobs/sha256/" + d.Hash + "/5")
	f.Add("blobs/../" + d.Hash + "/5")
	f.Add("uploads//compressed-blobs/deflate/x/-1")
	f.Fuzz(func(t *testing.T, name string) {
		r, err := ParseResource(name)
		if err != nil {
			return
		}
		if err := r.Digest.Check(); err != nil {
			t.Fatalf("%q: digest %v: %v", name, r.Digest, err)
		}
		again := ReadName(r.Instance, r.Digest, r.Compressor)
		if r.Upload != "" {
			again = WriteName(r.Instance, r.Upload, r.Digest, r.Compressor)
		}
		if back, err := ParseResource(again); err != nil || back != r {
			t.Fatalf("%q: %+v, written as %q: %+v, %v", name, r, again, back, err)
		}
	})
}
