package jsonschema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits on numbers, which a validator compares digit by digit.
const (
	maxDigits   = 10_000
	maxExponent = 10_000
)

// Decode reads one JSON value from untrusted bytes: numbers become json.Number,
// exactly as written. Invalid UTF-8, anything after the value, and numbers that
// would take for ever to compare are errors.
func Decode(text []byte) (any, error) {
	if at := invalidUTF8(text); at >= 0 {
		return nil, fmt.Errorf("byte %d is not valid UTF-8", at)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("there is no JSON value")
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errors.New("the JSON ends in the middle of a value")
		}
		return nil, err
	}
	if rest := bytes.TrimLeft(text[d.InputOffset():], " \t\r\n"); len(rest) > 0 {
		return nil, fmt.Errorf("after the JSON value, at byte %d, comes more: %.40q", len(text)-len(rest), rest)
	}
	return v, checkNumbers(v)
}

// invalidUTF8 returns the offset of the first byte that is not UTF-8, or -1.
func invalidUTF8(text []byte) int {
	if utf8.Valid(text) {
		return -1
	}
	at := 0
	for {
		r, size := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
}

func checkNumbers(v any) error {
	switch v := v.(type) {
	case json.Number:
		return checkNumber(string(v))
	case []any:
		for _, item := range v {
			if err := checkNumbers(item); err != nil {
				return err
			}
		}
	case map[string]any:
		for _, item := range v {
			if err := checkNumbers(item); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkNumber(text string) error {
	if len(text) > maxDigits {
		return fmt.Errorf("the number %.20s… has more than %d digits", text, maxDigits)
	}
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		exponent, err := strconv.Atoi(strings.TrimPrefix(text[i+1:], "+"))
		if err != nil || exponent > maxExponent || exponent < -maxExponent {
			return fmt.Errorf("the exponent of the number %.40s is beyond %d", text, maxExponent)
		}
	}
	return nil
}

// Encode writes a value that Decode returned the one way: compact, names sorted.
func Encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
