// Package base58 writes and reads bytes in Bitcoin's base58: rio's ware ids and
// warpforge's ids are written so. It leaves what the bytes mean to others.
package base58

import (
	"bytes"
	"math/big"
	"slices"
	"strings"
)

const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

// Encode writes b, each leading zero byte as '1'.
func Encode(b []byte) string {
	var out []byte
	n, base, digit := new(big.Int).SetBytes(b), big.NewInt(58), new(big.Int)
	for n.Sign() > 0 {
		n.DivMod(n, base, digit)
		out = append(out, alphabet[digit.Int64()])
	}
	zeros := len(b) - len(bytes.TrimLeft(b, "\x00"))
	out = append(out, strings.Repeat("1", zeros)...)
	slices.Reverse(out)
	return string(out)
}

// maxText bounds what Decode reads: its time grows with the square of the length.
const maxText = 1024

// Decode reads what Encode writes. It is false for anything else.
func Decode(s string) ([]byte, bool) {
	if len(s) > maxText {
		return nil, false
	}
	n, base := new(big.Int), big.NewInt(58)
	for _, c := range []byte(s) {
		digit := strings.IndexByte(alphabet, c)
		if digit < 0 {
			return nil, false
		}
		n.Add(n.Mul(n, base), big.NewInt(int64(digit)))
	}
	zeros := len(s) - len(strings.TrimLeft(s, "1"))
	return append(make([]byte, zeros), n.Bytes()...), true
}
