package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// paint is a colour as an SGR sequence.
type paint string

const (
	plain paint = ""
	dim   paint = "2"
	red   paint = "31"
	green paint = "32"
	cyan  paint = "36"
)

func (p paint) on(color bool, text string) string {
	if !color || p == plain {
		return text
	}
	return "\x1b[" + string(p) + "m" + text + "\x1b[0m"
}

// harmless returns s as it can be shown on a terminal: what steps print, and
// names, may hold anything. Control characters, bytes that are no UTF-8 and
// characters that change the direction of text or cannot be seen are written as
// escapes. With color, SGR sequences (colours) are left and reset at the end; else
// they are taken out, since they only colour.
func harmless(s string, color bool) string {
	if isHarmless(s) {
		return s
	}
	var b strings.Builder
	colored := false
	for i := 0; i < len(s); {
		if n := sgrLen(s[i:]); n > 0 {
			if color {
				b.WriteString(s[i : i+n])
				colored = true
			}
			i += n
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == '\t' {
			b.WriteByte('\t')
		} else {
			showRune(&b, s[i:i+n], r)
		}
		i += n
	}
	if colored {
		b.WriteString("\x1b[0m")
	}
	return b.String()
}

// harmlessName returns the name of an entry as it can be shown, and so that no two
// names are shown alike: control characters and what else harmless writes as escapes
// are, all of them, and a backslash is written twice.
func harmlessName(s string) string {
	if isHarmless(s) && !strings.ContainsAny(s, "\\\t") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == '\\' {
			b.WriteString(`\\`)
		} else {
			showRune(&b, s[i:i+n], r)
		}
		i += n
	}
	return b.String()
}

// showRune writes one character, decoded from s, or an escape for it.
func showRune(b *strings.Builder, s string, r rune) {
	switch {
	case r == utf8.RuneError && len(s) == 1:
		fmt.Fprintf(b, `\x%02x`, s[0])
	case showable(r):
		b.WriteString(s)
	case r < 0x80:
		fmt.Fprintf(b, `\x%02x`, r)
	default:
		fmt.Fprintf(b, `\u%04x`, r)
	}
}

func isHarmless(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < 0x20 && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return true
}

func showable(r rune) bool {
	return unicode.IsGraphic(r) && !unicode.Is(unicode.Cf, r) && !unicode.Is(unicode.Zl, r) && !unicode.Is(unicode.Zp, r)
}

// sgrLen returns the length of the SGR sequence that s starts with, else 0.
func sgrLen(s string) int {
	if !strings.HasPrefix(s, "\x1b[") {
		return 0
	}
	for i := 2; i < len(s); i++ {
		switch c := s[i]; {
		case c == 'm':
			return i + 1
		case (c < '0' || c > '9') && c != ';' && c != ':':
			return 0
		}
	}
	return 0
}
