package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"unicode"

	"golang.org/x/term"
	"golang.org/x/text/width"
)

// A live is a few lines at the bottom of a terminal that are drawn again whenever
// something is written above them. Each change is one write, so nothing
// flickers; lines are cut to the terminal's width, so how many rows they take
// is known, also after the terminal was resized and has wrapped them.
type live struct {
	file   *os.File
	size   func() (columns, rows int)
	drawn  []int // columns that each line on the screen takes
	hidden bool  // the cursor
	last   string
	calm   bool // leave the cursor alone
}

func newLive(f *os.File) *live {
	return &live{file: f, size: func() (int, int) {
		w, h, err := term.GetSize(int(f.Fd()))
		if err != nil || w < 1 || h < 1 {
			return 80, 24
		}
		return w, h
	}}
}

// write puts text, whole lines, above the lines of the view.
func (l *live) write(text []byte, lines []string) {
	columns, rows := l.size()
	if limit := max(1, rows/2); len(lines) > limit {
		more := len(lines) - limit + 1
		lines = append(lines[:limit-1:limit-1], fmt.Sprintf("… and %d more", more))
	}
	view := make([]string, len(lines))
	for i, line := range lines {
		view[i] = cutColumns(line, columns-1)
	}
	now := strings.Join(view, "\n")
	if len(text) == 0 && now == l.last {
		return
	}
	var b bytes.Buffer
	b.WriteString("\x1b[?2026h") // the terminal shows what follows at once, if it can
	l.erase(&b, columns)
	if len(view) > 0 && !l.hidden && !l.calm {
		b.WriteString("\x1b[?25l")
		l.hidden = true
	}
	b.Write(text)
	l.drawn, l.last = l.drawn[:0], now
	for _, line := range view {
		b.WriteString(line + "\n")
		l.drawn = append(l.drawn, columnsOf(line))
	}
	b.WriteString("\x1b[?2026l")
	l.file.Write(b.Bytes())
}

// erase moves to where the view begins and clears from there.
func (l *live) erase(b *bytes.Buffer, columns int) {
	rows := 0
	for _, w := range l.drawn {
		rows += max(1, (w+columns-1)/columns)
	}
	if rows > 0 {
		fmt.Fprintf(b, "\r\x1b[%dA\x1b[J", rows)
	}
}

func (l *live) showCursor() {
	l.calm = true
	if l.hidden {
		l.file.WriteString("\x1b[?25h")
		l.hidden = false
	}
}

// close takes the view off the screen.
func (l *live) close() {
	columns, _ := l.size()
	var b bytes.Buffer
	l.erase(&b, columns)
	l.drawn = nil
	l.file.Write(b.Bytes())
	l.showCursor()
}

// cutColumns cuts s, which may hold SGR sequences, to n columns.
func cutColumns(s string, n int) string {
	column := 0
	for i := 0; i < len(s); {
		if k := sgrLen(s[i:]); k > 0 {
			i += k
			continue
		}
		r := []rune(s[i:min(len(s), i+4)])[0]
		if w := runeColumns(r); column+w > n {
			if strings.Contains(s[:i], "\x1b[") {
				return s[:i] + "\x1b[0m"
			}
			return s[:i]
		} else {
			column += w
		}
		i += len(string(r))
	}
	return s
}

func columnsOf(s string) int {
	column := 0
	for i := 0; i < len(s); {
		if k := sgrLen(s[i:]); k > 0 {
			i += k
			continue
		}
		r := []rune(s[i:min(len(s), i+4)])[0]
		column += runeColumns(r)
		i += len(string(r))
	}
	return column
}

// runeColumns is how many columns a terminal gives to r.
func runeColumns(r rune) int {
	switch {
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r < 0x1100:
		return 1
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}
