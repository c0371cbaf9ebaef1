package base58

import (
	"bytes"
	"testing"
)

func TestBase58(t *testing.T) {
	for text, want := range map[string][]byte{
		"":                  {},
		"1":                 {0},
		"11233QC4":          {0, 0, 0x28, 0x7f, 0xb4, 0xcd}, // draft-msporny-base58
		"2NEpo7TZRRrLZSi2U": []byte("Hello World!"),
	} {
		if got := Encode(want); got != text {
			t.Errorf("Encode(%x) = %q, want %q", want, got, text)
		}
		if got, ok := Decode(text); !ok || !bytes.Equal(got, want) {
			t.Errorf("Decode(%q) = %x, %t, want %x", text, got, ok, want)
		}
	}
	for _, text := range []string{"0", "O", "I", "l", "a b", string(bytes.Repeat([]byte{'z'}, maxText+1))} {
		if got, ok := Decode(text); ok {
			t.Errorf("Decode(%.20q) = %x, want none", text, got)
		}
	}
}
