package warehousetest

import (
	"archive/tar"
	"bytes"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// hostile has a place give archives that were made to harm.
func hostile(t *testing.T, p Place) {
	if p.Edit == nil {
		t.Skip("what this kind of store keeps cannot be changed")
	}
	l, s := OpenLocal(t), open(t, p)
	wanted := Small(t, l, "wanted")
	Put(t, s, l, wanted)
	for name, headers := range map[string][]tar.Header{
		"above":         {{Name: "../f", Typeflag: tar.TypeReg}},
		"absolute":      {{Name: "/tmp/f", Typeflag: tar.TypeReg}},
		"through link":  {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "/tmp"}, {Name: "l/f", Typeflag: tar.TypeReg}},
		"two roots":     {{Name: ".", Typeflag: tar.TypeReg}, {Name: ".", Typeflag: tar.TypeReg}},
		"root and file": {{Name: ".", Typeflag: tar.TypeReg}, {Name: "f", Typeflag: tar.TypeReg}},
		"file and root": {{Name: "f", Typeflag: tar.TypeReg}, {Name: ".", Typeflag: tar.TypeReg}},
		"bomb":          {{Name: "zeros", Typeflag: tar.TypeReg, Size: 1 << 28}},
	} {
		t.Run(name, func(t *testing.T) {
			data := archiveOf(t, headers)
			p.Edit(t, wanted.ID, func([]byte) []byte { return data })
			lie(t, s, wanted.ID, wanted)
		})
	}
}

// archiveOf makes an archive of entries full of zeros.
func archiveOf(t testing.TB, headers []tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	must(t, err)
	w := tar.NewWriter(z)
	zeros := make([]byte, 1<<20)
	for _, h := range headers {
		h.Mode = 0o644
		must(t, w.WriteHeader(&h))
		for left := h.Size; left > 0; left -= int64(len(zeros)) {
			_, err := w.Write(zeros[:min(left, int64(len(zeros)))])
			must(t, err)
		}
	}
	must(t, w.Close())
	must(t, z.Close())
	return b.Bytes()
}
