package pack

import (
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// The ids of single files were made with remote-apis' own Go types, as were the tree
// ids of testdata/vectors.json.
func TestFileVectors(t *testing.T) {
	for mode, want := range map[os.FileMode]string{
		0o644: "tree:061933d2be3bcc2caa2032d1afe220a8a8f097c0796d033aaca2d80bcfa34719-106",
		0o755: "tree:48ed577fa53c30a4056908150bdc16ac4112b7a2507607e764cd2cc772adf8c2-108",
	} {
		path := filepath.Join(t.TempDir(), "any name")
		must(t, os.WriteFile(path, []byte("content"), 0o600))
		must(t, os.Chmod(path, mode))
		r, err := Scan(context.Background(), path, Options{})
		if err != nil || r.ID.String() != want {
			t.Errorf("%o: got %s, %v; want %s", mode, r.ID, err, want)
		}
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", "é": "é", "caf\xe9": "caf\x00e9", "\xff\xfe": "\x00ff\x00fe", "�": "�", "\xc3": "\x00c3",
	} {
		if got := escape(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
		if back, err := unescape(want); back != in || err != nil {
			t.Errorf("%q: back came %q, %v", in, back, err)
		}
	}
}

func FuzzEscape(f *testing.F) {
	f.Add("caf\xe9", "cafe9")
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.Contains(a+b, "\x00") {
			t.Skip("no name holds NUL")
		}
		x, y := escape(a), escape(b)
		if !utf8.ValidString(x) || (x == y) != (a == b) {
			t.Errorf("%q, %q: %q, %q", a, b, x, y)
		}
	})
}

// TestMessageLengths has lengths need one, two and three bytes.
func TestMessageLengths(t *testing.T) {
	for _, size := range []int{0, 1, 127, 128, 129, 16383, 16384, 20000} {
		body := slices.Repeat([]byte{7}, size)
		got := appendMessage([]byte("before"), 1, func(b []byte) []byte { return append(b, body...) })
		want := append(binary.AppendUvarint([]byte("before\x0a"), uint64(size)), body...)
		if !slices.Equal(got, want) {
			t.Errorf("%d: got % x…", size, got[:min(len(got), 16)])
		}
	}
}
