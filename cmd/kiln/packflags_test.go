package main

import "testing"

func TestSizeValue(t *testing.T) {
	for text, want := range map[string]int64{
		"1": 1, "500000": 500000, "64KiB": 64 << 10, "64K": 64 << 10, "64KB": 64 << 10, "1.5GiB": 3 << 29, "2T": 2 << 40,
	} {
		var v sizeValue
		if err := v.Set(text); err != nil || int64(v) != want {
			t.Errorf("%q: got %d, %v; want %d", text, v, err, want)
		}
		var again sizeValue
		if err := again.Set(v.String()); err != nil || again != v {
			t.Errorf("%q: written as %q, read as %d, %v", text, v.String(), again, err)
		}
	}
	for _, text := range []string{"", "0", "-1", "K", "iB", "B", "5B", "5iB", "1e3", "0x10", "1KK", "NaN", "inf", "9999999T", " 1", "1 K"} {
		var v sizeValue
		if err := v.Set(text); err == nil {
			t.Errorf("%q: read as %d", text, v)
		}
	}
}
